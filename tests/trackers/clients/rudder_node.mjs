// @rudderstack/rudder-sdk-node: a page view, a search, an event and an identify. Arguments: URL, write key.
import Analytics from "@rudderstack/rudder-sdk-node";

const [url, writeKey] = process.argv.slice(2);
const client = new Analytics(writeKey, { dataPlaneUrl: url, logLevel: "error", retryCount: 5 });
const who = { anonymousId: "rudder-node", userId: "user-1" };
const properties = {
  url: "https://example.com/pricing?utm_source=mail",
  title: "Pricing",
  referrer: "https://r.example/",
};
client.page({ ...who, name: "Pricing", properties });
client.track({ ...who, event: "Products Searched", properties: { query: "shoes", results: 3 } });
client.track({ ...who, event: "Signed Up", properties: { plan: "pro", seats: 3 } });
client.identify({ ...who, traits: { company: "Example" } });
await client.flush();
await client.flush();
