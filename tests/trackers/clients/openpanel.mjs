// URL CLIENT_ID [SECRET [now]]: what OpenPanel's client for Node sends. Without `now` it holds its events back first,
// and so gives them a time, as it does in apps that have to ask first.
import { OpenPanel } from '@openpanel/sdk'

const [apiUrl, clientId, clientSecret, now] = process.argv.slice(2)
const op = new OpenPanel({ apiUrl, clientId, clientSecret, disabled: !now })
const told = []
const send = op.api.fetch.bind(op.api)
op.api.fetch = (...given) => {
  const answer = send(...given)
  told.push(answer)
  return answer
}
op.profileId = 'user-1'
op.setGlobalProperties({ __referrer: 'https://search.example/' })
const page = { __path: 'https://example.com/shop?utm_source=letter', __title: 'Shop' }
await op.track('screen_view', page)
await op.track('search', { query: 'red hat', results: 3 })
await op.track('signup', { plan: 'pro', seats: 3, tags: ['a'] })
await op.revenue(990, { currency: 'EUR' })
if (!now) {
  op.ready()
  await Promise.all(told) // what follows has no time: sent a second time it would be another event
}
await op.identify({ profileId: 'user-1', email: 'ann@example.com', properties: { tier: 'gold' } })
const answers = await Promise.all(told)
console.log(`${answers.filter((answer) => answer?.sessionId).length} delivered`)
