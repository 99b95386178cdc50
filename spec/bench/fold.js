// The same events as JSON texts that are already in memory: JSON.parse and fold. Called with the number of events;
// prints nanoseconds of CPU for an event.
const count = Number(process.argv[2]);
const texts = [];
for (let i = 1; i <= count; i++) {
  const type = i % 10 === 0 ? "DiscountApplied" : "ItemAdded";
  texts.push(JSON.stringify({ type, data: { product: "product-" + i % 100, qty: i % 7 + 1, price: i % 1000 } }));
}
const state = { count: 0, total: 0, last: "" };
function add(state, event) {
  state.count += 1;
  state.total += event.data.qty * event.data.price;
  state.last = event.data.product;
}
const start = process.cpuUsage();
for (let i = 0; i < count; i++) add(state, JSON.parse(texts[i]));
const used = process.cpuUsage(start);
console.log((used.user + used.system) * 1000 / count);
