import { nodeDisk, type Disk } from "../../src/server/store/files/disk.ts";
import { storeContract } from "./contract.ts";
import { filesPlace } from "./places.ts";

storeContract("files", () => filesPlace());
storeContract("files, with one file open at a time and nothing cached", () =>
  filesPlace({ openStreamsMax: 1, cacheBytesMax: 0 }),
);

/** read(2) and write(2) may do less than they were asked to. */
const stingy: Disk = {
  ...nodeDisk,
  read: (fd, buffer, position) =>
    nodeDisk.read(fd, buffer.subarray(0, Math.ceil(buffer.length / 2)), position),
  write: (fd, buffer, position) =>
    nodeDisk.write(fd, buffer.subarray(0, Math.ceil(buffer.length / 2)), position),
};
storeContract("files, on a disk that takes and gives a half at a time", () => filesPlace({ disk: stingy }));
