// @segment/analytics-node: a page view, a search, an event and an identify. Arguments: URL, write key.
import { Analytics } from "@segment/analytics-node";

const [url, writeKey] = process.argv.slice(2);
const client = new Analytics({ writeKey, host: url, flushInterval: 200, maxRetries: 5 });
const failed = [];
client.on("error", (error) => failed.push(error));
const who = { anonymousId: "segment-node", userId: "user-1" };
const properties = {
  url: "https://example.com/pricing?utm_source=mail",
  title: "Pricing",
  referrer: "https://r.example/",
};
client.page({ ...who, name: "Pricing", properties });
client.track({ ...who, event: "Products Searched", properties: { query: "shoes", results: 3 } });
client.track({ ...who, event: "Signed Up", properties: { plan: "pro", seats: 3 } });
client.identify({ ...who, traits: { company: "Example" } });
await client.closeAndFlush({ timeout: 60_000 });
if (failed.length > 0) {
  console.error(failed);
  process.exit(1);
}
