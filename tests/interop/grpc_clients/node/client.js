// @grpc/grpc-js, as the table of the runner has it.
'use strict';

const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const TIMEOUT_MS = 10000;
const HELD_MS = 150;
const HELD_ROUNDS = 3;
const HELD_AT_ONCE = 100;
const STREAMED = 200;
const BATCHED = 50;
const SMALL = 7000; // bytes of metadata, below and above what the service takes
const LARGE = 9000;

const given = { calls: '1000', at_once: '64', seconds: '3' };
for (const each of process.argv.slice(2)) {
  const at = each.indexOf('=');
  given[each.slice(0, at)] = each.slice(at + 1);
}

const includeDirs = given.protos.split(',');
const packages = loader.loadSync(['quote_expiry/v1/quote_expiry_service.proto', 'health.proto'], {
  includeDirs, keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const messages = new protobuf.Root();
messages.resolvePath = (_, name) => includeDirs.map((each) => path.join(each, name)).find(fs.existsSync);
messages.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto']);
const { quote_expiry: api, grpc: health } = grpc.loadPackageDefinition(packages);
const { status: Code } = grpc;

function check(good, words) {
  if (!good) throw new Error(words);
}

function credentials() {
  if (!given.ca) return grpc.credentials.createInsecure();
  const own = given.certificate ? [fs.readFileSync(given.key), fs.readFileSync(given.certificate)] : [];
  return grpc.credentials.createSsl(fs.readFileSync(given.ca), ...own);
}

function open(options = {}) {
  return new api.v1.QuoteExpiryService(given.target, credentials(), { 'grpc.use_local_subchannel_pool': 1, ...options });
}

const soon = (ms = TIMEOUT_MS) => ({ deadline: Date.now() + ms });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const request = (more = {}) => ({ instrument: 'BTC-USDT', side: 'SIDE_BUY', ...more });

/** The answer; rejects with the error. `started` gets the call. */
function ask(stub, message, { metadata = new grpc.Metadata(), options = soon(), method = 'GetExpiry', started } = {}) {
  return new Promise((resolve, reject) => {
    const call = stub[method](message, metadata, options, (error, reply) => (error ? reject(error) : resolve(reply)));
    if (started) started(call);
  });
}

async function failed(promise, code) {
  const error = await promise.then(() => null, (thrown) => thrown);
  check(error, 'the call was answered');
  check(error.code === code, `expected ${Code[code]}, got ${error.message}`);
  return error;
}

/** Messages of a stream one by one; null at its end. */
function reader(call) {
  const heard = [];
  let wake = () => {};
  const put = (what) => {
    heard.push(what);
    wake();
  };
  call.on('data', (message) => put({ message }));
  call.on('error', (error) => put({ error }));
  call.on('end', () => put({ message: null }));
  return async () => {
    while (heard.length === 0) await new Promise((done) => (wake = done));
    const { message, error } = heard.shift();
    if (error) throw error;
    return message;
  };
}

async function unary(stub) {
  const ids = new Set();
  for (let i = 0; i < 20; i += 1) {
    const reply = await ask(stub, request());
    check(reply.decision === 'DECISION_QUOTE', JSON.stringify(reply));
    ids.add(reply.decision_id);
  }
  check(ids.size === 20, 'a decision came twice');
}

async function stream(stub) {
  const call = stub.StreamExpiry(new grpc.Metadata(), soon());
  const next = reader(call);
  for (let tag = 1; tag <= STREAMED; tag += 1) call.write({ tag, request: request() });
  call.end();
  for (let tag = 1; tag <= STREAMED; tag += 1) check((await next()).tag === tag, `not in order at ${tag}`);
  check((await next()) === null, 'more answers than requests');
}

async function server_stream() {
  const client = new health.health.v1.Health(given.target, credentials());
  const call = client.Watch({}, new grpc.Metadata(), soon());
  const next = reader(call);
  check((await next()).status === 'SERVING', 'not serving');
  call.cancel();
  await failed(next(), Code.CANCELLED);
  client.close();
}

async function watch(stub) {
  const call = stub.WatchQuotes(new grpc.Metadata(), soon());
  const next = reader(call);
  const heard = new Set();
  call.write({ open: { owner: 'node', heartbeat_interval_ns: 5e9 } });
  for (let message = await next(); message !== null; message = await next()) {
    for (const each of message.message === 'batch' ? message.batch.messages : [message]) {
      if (each.message === 'opened') call.write({ register: { quote_id: 'q-1', quote: request() } });
      if (each.message === 'heartbeat' && heard.has('registered') && !heard.has('heartbeat')) {
        call.write({ update: { quote_id: 'q-1', state: 'QUOTE_STATE_CANCELLED' } });
        call.end();
        heard.add('heartbeat');
      }
      if (each.message !== 'heartbeat') heard.add(each.message);
    }
  }
  for (const kind of ['opened', 'registered', 'heartbeat']) check(heard.has(kind), [...heard].join(', '));
}

async function deadline(stub) {
  const began = Date.now();
  await failed(ask(stub, request({ rfq_id: 'hold' }), { options: soon(HELD_MS) }), Code.DEADLINE_EXCEEDED);
  const spent = Date.now() - began;
  check(spent >= HELD_MS * 0.9 && spent < 2000, `after ${spent} ms`);
}

async function cancel(stub) {
  for (let round = 0; round < HELD_ROUNDS; round += 1) {
    const calls = [];
    const ends = Array.from({ length: HELD_AT_ONCE }, () =>
      failed(ask(stub, request({ rfq_id: 'hold' }), { options: {}, started: (call) => calls.push(call) }), Code.CANCELLED),
    );
    await pause(HELD_MS);
    calls.forEach((each) => each.cancel());
    await Promise.all(ends);
  }
  return unary(stub);
}

async function error(stub) {
  const thrown = await failed(ask(stub, request({ price: '-1' })), Code.INVALID_ARGUMENT);
  const [details] = thrown.metadata.get('grpc-status-details-bin');
  const status = messages.lookupType('google.rpc.Status').decode(details);
  const bad = messages.lookupType('google.rpc.BadRequest').decode(status.details[0].value);
  check(bad.fieldViolations[0].field === 'price', JSON.stringify(bad));
}

async function metadata(stub) {
  const beside = stub.StreamExpiry(new grpc.Metadata(), soon());
  const next = reader(beside);
  beside.write({ tag: 1, request: request() });
  check((await next()).tag === 1, 'no answer');
  const sized = (size) => {
    const all = new grpc.Metadata();
    all.set('x-large', 'a'.repeat(size));
    return ask(stub, request(), { metadata: all });
  };
  await sized(SMALL);
  const thrown = await failed(sized(LARGE), Code.RESOURCE_EXHAUSTED);
  beside.write({ tag: 2, request: request() });
  check((await next()).tag === 2, 'the connection did not outlive it');
  beside.end();
  return thrown.details.slice(0, 60);
}

async function gzip() {
  const stub = open({ 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });
  const reply = await ask(stub, { requests: Array(BATCHED).fill(request()) }, { method: 'BatchGetExpiry' });
  stub.close();
  check(reply.results.length === BATCHED, `${reply.results.length} results`);
}

async function refused(stub) {
  await failed(ask(stub, request()), Code.UNAVAILABLE);
}

async function workers(stub, more, allowed) {
  const began = Date.now();
  const ends = { OK: 0 };
  const work = async () => {
    while (more()) {
      const code = await ask(stub, request()).then(() => 'OK', (thrown) => Code[thrown.code]);
      ends[code] = (ends[code] || 0) + 1;
      if (code !== 'OK') await pause(1);
    }
  };
  await Promise.all(Array.from({ length: Number(given.at_once) }, work));
  const words = Object.entries(ends).sort().map(([code, count]) => `${code} ${count}`).join(', ');
  const note = `${words}; ${Math.round((ends.OK * 1000) / (Date.now() - began))}/s`;
  check(ends.OK > 0 && Object.keys(ends).every((code) => code === 'OK' || code === allowed), note);
  return note;
}

function load(stub) {
  let left = Number(given.calls);
  return workers(stub, () => (left -= 1) >= 0, 'OK');
}

function lasting(stub, allowed) {
  const end = Date.now() + Number(given.seconds) * 1000;
  return workers(stub, () => Date.now() < end, allowed);
}

const cases = {
  unary, stream, server_stream, watch, deadline, cancel, error, metadata, gzip, refused, load,
  goaway: (stub) => lasting(stub, 'OK'),
  drain: (stub) => lasting(stub, 'UNAVAILABLE'),
};

async function main() {
  for (const name of given.cases.split(',')) {
    const stub = open();
    let ok = true;
    let note = '';
    try {
      note = (await cases[name](stub)) || '';
    } catch (thrown) {
      ok = false;
      note = String(thrown.message || thrown);
    }
    stub.close();
    console.log(JSON.stringify({ case: name, ok, note }));
  }
  process.exit(0);
}

main();
