// Builds what browsers load: the dashboards' script and style, and the two beacons. Run by hatch_build.py.
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

// The beacon runs in whatever browser a visitor has; the small one leaves the automatic extras out.
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
