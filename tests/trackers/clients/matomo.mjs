// matomo.mjs URL KEY: what the npm package `matomo-tracker` sends. A client that hears of an error sends again.
import { randomInt } from "node:crypto";
import MatomoTracker from "matomo-tracker";

const [url, key] = process.argv.slice(2);
const visitor = randomInt(2 ** 40).toString(16).padStart(16, "0");
const now = Math.floor(Date.now() / 1000);

const page = { _id: visitor, url: "https://example.com/shop?utm_source=letter", lang: "de-DE", res: "1280x720" };
const events = [
  { ...page, action_name: "Shop", urlref: "https://search.example/" },
  { ...page, search: "red hat", search_count: 3 },
  { ...page, e_c: "cart", e_a: "add", e_n: "hat", e_v: 9.5 },
  { ...page, uid: "user-1", idgoal: 3, revenue: "9.90" },
].map((event) => ({ ...event, rand: String(randomInt(1e9)), cdt: now }));

// The package says only what failed, so a request that is answered otherwise is known by its socket.
const attempt = (send) =>
  new Promise((resolve) => {
    const tracker = new MatomoTracker(key, `${url}/matomo.php`);
    let failed = false;
    tracker.on("error", (error) => (failed = error || true));
    const agent = tracker.agent;
    const watched = (request) => {
      request.on("close", () => resolve(failed));
      request.on("response", (response) => response.resume());
      return request;
    };
    tracker.agent = {
      get: (...given) => watched(agent.get(...given)),
      request: (...given) => watched(agent.request(...given)),
    };
    send(tracker);
  });

const until = async (send) => {
  for (let tries = 1; tries <= 20; tries++) {
    const failed = await attempt(send);
    if (!failed) return;
    console.log("again after", failed);
    await new Promise((wait) => setTimeout(wait, 50));
  }
  throw new Error("nothing was taken");
};

await until((tracker) => tracker.track({ ...events[0] }));
await until((tracker) => tracker.track({ ...events[1], send_image: 0 }));
await until((tracker) => tracker.trackBulk(events.slice(2).map((event) => ({ ...event }))));
console.log("4 delivered");
