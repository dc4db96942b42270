/** One line of JSON a figure; `ratio` is ours against the baseline of the same run. */
export function print(figure: string, values: Readonly<Record<string, number | string>>): void {
  const ours = Object.values(values).find((value) => typeof value === "number");
  const baseline = Object.entries(values).find(([name]) => /^baseline./.test(name))?.[1];
  const ratio =
    typeof ours === "number" && typeof baseline === "number" ? { ratio: round(ours / baseline) } : {};
  const rounded = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typeof value === "number" ? round(value) : value]),
  );
  process.stdout.write(`${JSON.stringify({ figure, ...rounded, ...ratio })}\n`);
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
