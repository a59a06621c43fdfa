// Builds the files that browsers load: the dashboards' script and style, and the beacons. hatch_build.py runs it.
import { build } from "esbuild";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
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

// The beacon has to run in any visitor's browser, of 2019 or later.
async function beacon(chosen) {
  const define = Object.fromEntries(
    features.map((name) => [`FOOTFALL_${name.toUpperCase()}`, String(chosen.includes(name))]),
  );
  const options = { entryPoints: [source], minify: true, target: "es2019", write: false, define, logLevel: "warning" };
  const script = (await build(options)).outputFiles[0].contents;
  const words = chosen.length === features.length ? ["all"] : chosen;
  const file = `${built}/${["beacon", ...words, "js"].join(".")}`;
  await Promise.all([writeFile(file, script), writeFile(`${file}.br`, brotliCompressSync(script))]);
}

const builds = [build(board)];
if (existsSync(source)) {
  await mkdir(built, { recursive: true });
  for (let choice = 0; choice < 2 ** features.length; choice += 1) {
    builds.push(beacon(features.filter((_, place) => choice & (1 << place))));
  }
}
await Promise.all(builds);
