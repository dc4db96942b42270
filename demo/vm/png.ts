import { crc32, deflateSync } from "node:zlib";

/** Pixels of one character's place, and of the border around all. */
const cell = { width: 6, height: 10 };
const border = 4;

/** Lines of printable ASCII as a picture, light on black; a character that is not drawn here leaves its place empty. */
export function pictureOf(lines: readonly string[], columns: number): Buffer {
  const width = columns * cell.width + 2 * border;
  const height = lines.length * cell.height + 2 * border;
  // One bit a pixel; each row begins with its filter, which is none.
  const rowBytes = 1 + Math.ceil(width / 8);
  const pixels = Buffer.alloc(height * rowBytes);
  const light = (x: number, y: number) => {
    const at = (border + y) * rowBytes + 1 + ((border + x) >> 3);
    pixels[at] = pixels[at]! | (0x80 >> ((border + x) & 7));
  };
  for (const [row, line] of lines.entries())
    for (let column = 0; column < Math.min(line.length, columns); column++)
      draw(glyphs[line[column]!] ?? "", (x, y) => light(column * cell.width + x, row * cell.height + y));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // Bits a pixel; greyscale, and no filter or interlacing of note, are 0.
  header[8] = 1;
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(pixels)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function draw(glyph: string, light: (x: number, y: number) => void): void {
  for (let y = 0; y < glyph.length; y++) {
    const row = Number.parseInt(glyph[y]!, 32);
    for (let x = 0; x < 5; x++) if (((row >> (4 - x)) & 1) === 1) light(x, y);
  }
}

function chunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(named.length + 8);
  framed.writeUInt32BE(data.length, 0);
  named.copy(framed, 4);
  framed.writeUInt32BE(crc32(named), 4 + named.length);
  return framed;
}

/** Eight rows of five pixels, each row one digit of base 32. */
const glyphs: Readonly<Record<string, string>> = {
  "0": "ehjlphe0",
  "1": "4c4444e0",
  "2": "eh168gv0",
  "3": "eh161he0",
  "4": "26aiv220",
  "5": "vgu11he0",
  "6": "68guhhe0",
  "7": "v1248880",
  "8": "ehhehhe0",
  "9": "ehhf12c0",
  A: "ehhvhhh0",
  B: "uhhuhhu0",
  C: "ehggghe0",
  D: "uhhhhhu0",
  E: "vgguggv0",
  F: "vgguggg0",
  G: "ehgnhhf0",
  H: "hhhvhhh0",
  I: "e44444e0",
  J: "72222ic0",
  K: "hikokih0",
  L: "ggggggv0",
  M: "hrllhhh0",
  N: "hhpljhh0",
  O: "ehhhhhe0",
  P: "uhhuggg0",
  Q: "ehhhlid0",
  R: "uhhukih0",
  S: "fgge11u0",
  T: "v4444440",
  U: "hhhhhhe0",
  V: "hhhhha40",
  W: "hhhllla0",
  X: "hha4ahh0",
  Y: "hhha4440",
  Z: "v1248gv0",
  a: "00e1fhf0",
  b: "gguhhhu0",
  c: "00ehghe0",
  d: "11fhhhf0",
  e: "00ehvge0",
  f: "698s8880",
  g: "00fhhf1e",
  h: "gguhhhh0",
  i: "40c444e0",
  j: "206222ic",
  k: "ggikoki0",
  l: "c44444e0",
  m: "00qllll0",
  n: "00uhhhh0",
  o: "00ehhhe0",
  p: "00uhhugg",
  q: "00fhhf11",
  r: "00mpggg0",
  s: "00fge1u0",
  t: "88s88960",
  u: "00hhhjd0",
  v: "00hhha40",
  w: "00hhlla0",
  x: "00ha4ah0",
  y: "00hhhf1e",
  z: "00v248v0",
  ".": "00000cc0",
  ",": "00000c48",
  ":": "0cc0cc00",
  "-": "000u0000",
  _: "000000v0",
  "/": "01248g00",
  "(": "24888420",
  ")": "84222480",
  "[": "e88888e0",
  "]": "e22222e0",
  "<": "248g8420",
  ">": "84212480",
  "=": "00v0v000",
  "+": "044v4400",
  "#": "aavavaa0",
  '"': "aa000000",
  "'": "44800000",
};
