import { dirname } from "node:path"

// What is beside the applications' folder, the packages, is two folders up from a build (see `building.py`).
export default {
  output: "export",
  reactStrictMode: true,
  typescript: { ignoreBuildErrors: true }, // `building.py` checks them, with those of the others
  turbopack: { root: dirname(dirname(dirname(import.meta.dirname))) },
}
