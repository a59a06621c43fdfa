// Builds the files that browsers load: the dashboards' script and style, and the beacons. hatch_build.py runs it.
import { build, transform } from "esbuild";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { brotliCompressSync } from "node:zlib";

const board = {
  entryPoints: { board: "src/board.ts" },
  outdir: "../static",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "inline",
  logLevel: "warning",
};

// What a beacon may have besides page views, by the words of its name in alphabetical order; ingest/assets.py has the same.
const features = ["clicks", "consent", "queue", "time", "vitals"];
const source = "../../ingest/static/src/beacon.js";
const built = "../../ingest/static/built";

// The beacon has to run in any visitor's browser, of 2019 or later. A line that ends with the name of a feature is left
// out without it, which is for declarations: what is never used stays otherwise.
async function beacon(text, chosen) {
  const define = Object.fromEntries(
    features.map((name) => [`FOOTFALL_${name.toUpperCase()}`, String(chosen.includes(name))]),
  );
  const wanted = text.replace(/^.*\/\/ (FOOTFALL_\w+)\n/gm, (line, name) => (define[name] === "true" ? line : ""));
  const script = (await transform(wanted, { minify: true, target: "es2019", define, logLevel: "warning" })).code;
  const words = chosen.length === features.length ? ["all"] : chosen;
  const file = `${built}/${["beacon", ...words, "js"].join(".")}`;
  await Promise.all([writeFile(file, script), writeFile(`${file}.br`, brotliCompressSync(script))]);
}

const builds = [build(board)];
if (existsSync(source)) {
  await mkdir(built, { recursive: true });
  const text = await readFile(source, "utf8");
  for (let choice = 0; choice < 2 ** features.length; choice += 1) {
    builds.push(beacon(text, features.filter((_, place) => choice & (1 << place))));
  }
}
await Promise.all(builds);
