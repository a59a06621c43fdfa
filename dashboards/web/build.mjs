// Builds the files that browsers load: the dashboards' script and style, and the two beacons. hatch_build.py runs it.
import { build } from "esbuild";
import { existsSync } from "node:fs";

const board = {
  entryPoints: { board: "src/board.ts" },
  outdir: "../static",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "inline",
};

// The beacon has to run in any visitor's browser; the small one has no automatic extras.
const beacon = (all) => ({
  entryPoints: ["../../ingest/static/src/beacon.js"],
  outfile: `../../ingest/static/built/${all ? "beacon.all.js" : "beacon.js"}`,
  minify: true,
  target: "es2017",
  define: { FOOTFALL_ALL: String(all) },
});

const builds = [board];
if (existsSync(beacon(true).entryPoints[0])) builds.push(beacon(false), beacon(true));
await Promise.all(builds.map((options) => build({ ...options, logLevel: "warning" })));
