// What a careful team writes in node: tokens, a quota, a cache and a proxy in one file, on node's own HTTP server.
// The environment says PORT, REDIS_PORT, BACKEND and LOG (a file, or nothing for no access log).
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const Redis = require('ioredis');
const { Pool } = require('undici');

const FRESH_SECONDS = 3600;
const TITLES = {
  401: ['Unauthorized', 'invalid_token'],
  403: ['Forbidden', 'insufficient_scope'],
  404: ['Not Found', 'no_matching_rule'],
  429: ['Too Many Requests', 'quota_exceeded'],
  502: ['Bad Gateway', 'upstream_unreachable'],
  503: ['Service Unavailable', 'store_unavailable'],
};
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade']);
const NOT_FORWARDED = new Set([...HOP_BY_HOP, 'authorization', 'host', 'content-length']);

const redis = new Redis({ port: Number(process.env.REDIS_PORT), enableAutoPipelining: true, commandTimeout: 5000 });
redis.defineCommand('admit', { numberOfKeys: 3, lua: fs.readFileSync(path.join(__dirname, '..', 'admit.lua'), 'utf8') });
const backend = new Pool(process.env.BACKEND, { connections: 64, pipelining: 1 });
const cache = new Map();

let lines = '';
const log = process.env.LOG ? fs.createWriteStream(process.env.LOG, { flags: 'a' }) : null;
if (log) {
  setInterval(() => {
    if (lines) {
      log.write(lines);
      lines = '';
    }
  }, 100);
}

function record(request, response, seen, bytes) {
  if (!log) return;
  lines += JSON.stringify({
    time: new Date().toISOString(),
    request_id: seen.id,
    method: request.method,
    path: request.url,
    status: response.statusCode,
    reason: seen.reason,
    token: seen.token,
    owner: seen.owner,
    client: request.socket.remoteAddress,
    bytes,
    duration_seconds: (performance.now() - seen.began) / 1000,
  }) + '\n';
}

function send(request, response, seen, status, fields, content) {
  response.writeHead(status, { ...seen.fields, ...fields, 'X-Request-Id': seen.id });
  response.end(content);
  record(request, response, seen, content ? content.length : 0);
}

function refuse(request, response, seen, status, retryAfter) {
  const [title, reason] = TITLES[status];
  seen.reason = reason;
  const content = JSON.stringify({ type: 'about:blank', title, status, reason, request_id: seen.id });
  const fields = {
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(content),
    'Cache-Control': 'no-store',
  };
  if (status === 401 || status === 403) fields['WWW-Authenticate'] = `Bearer realm="bench", error="${reason}"`;
  if (retryAfter) fields['Retry-After'] = retryAfter;
  send(request, response, seen, status, fields, content);
}

// Returns whether the request may pass; it is answered if it may not.
async function check(request, response, seen) {
  const match = /^bearer +([^ ]+)$/i.exec(request.headers.authorization || '');
  if (!match) return refuse(request, response, seen, 401), false;
  const digest = crypto.createHash('sha256').update(match[1]).digest('hex');
  const now = Math.floor(Date.now() / 1000);
  let found;
  try {
    found = await redis.admit(`peer:token:${digest}`, 'peer:revoked', `peer:count:${digest}:`, digest, now);
  } catch {
    return refuse(request, response, seen, 503, 1), false;
  }
  if (!found.length || found[5] === 1 || Number(found[2]) <= now) return refuse(request, response, seen, 401), false;
  seen.token = digest.slice(0, 24);
  seen.owner = found[0];
  if (!found[1].split(' ').includes('read')) return refuse(request, response, seen, 403), false;
  const window = Number(found[4]);
  const left = Number(found[3]) - found[6];
  const wait = window - (now % window);
  seen.fields['RateLimit-Policy'] = `"minute";q=${found[3]};w=${found[4]}`;
  seen.fields.RateLimit = `"minute";r=${Math.max(0, left)};t=${wait}`;
  if (left < 0) return refuse(request, response, seen, 429, wait), false;
  return true;
}

async function fetchExport(target) {
  const answer = await backend.request({ path: target, method: 'GET' });
  const content = Buffer.from(await answer.body.arrayBuffer());
  const tag = `W/"${crypto.createHash('md5').update(content).digest('hex')}"`;
  const stored = { content, tag, kind: answer.headers['content-type'], storedAt: Date.now() };
  cache.set(target, stored);
  return stored;
}

async function serveExport(request, response, seen) {
  let stored = cache.get(request.url);
  if (!stored || Date.now() - stored.storedAt > FRESH_SECONDS * 1000) stored = await fetchExport(request.url);
  const age = Math.floor((Date.now() - stored.storedAt) / 1000);
  const fields = {
    ETag: stored.tag,
    'Cache-Control': 'private, no-cache',
    Vary: 'Accept-Encoding',
    Age: age,
    'Cache-Status': `node; hit; ttl=${FRESH_SECONDS - age}`,
  };
  const condition = request.headers['if-none-match'];
  if (condition && (condition === '*' || condition.includes(stored.tag.slice(2)))) {
    return send(request, response, seen, 304, fields);
  }
  fields['Content-Type'] = stored.kind;
  fields['Content-Length'] = stored.content.length;
  return send(request, response, seen, 200, fields, stored.content);
}

async function proxy(request, response, seen) {
  const headers = { 'x-forwarded-for': request.socket.remoteAddress, 'x-request-id': seen.id, 'x-owner': seen.owner };
  for (const name in request.headers) if (!NOT_FORWARDED.has(name)) headers[name] = request.headers[name];
  const answer = await backend.request({ path: request.url, method: request.method, headers });
  const fields = {};
  for (const name in answer.headers) if (!HOP_BY_HOP.has(name)) fields[name] = answer.headers[name];
  response.writeHead(answer.statusCode, { ...fields, ...seen.fields, 'X-Request-Id': seen.id });
  let bytes = 0;
  for await (const piece of answer.body) {
    bytes += piece.length;
    if (!response.write(piece)) await new Promise((resume) => response.once('drain', resume));
  }
  response.end();
  record(request, response, seen, bytes);
}

const server = http.createServer({ keepAliveTimeout: 75000 }, async (request, response) => {
  const seen = { id: crypto.randomUUID(), began: performance.now(), fields: {}, reason: '', token: '', owner: '' };
  try {
    if (!(await check(request, response, seen))) return;
    if (request.url.startsWith('/export')) await serveExport(request, response, seen);
    else if (request.url.startsWith('/live')) await proxy(request, response, seen);
    else refuse(request, response, seen, 404);
  } catch {
    if (!response.headersSent) refuse(request, response, seen, 502);
    else response.destroy();
  }
});
server.maxRequestsPerSocket = 0;
server.listen(Number(process.env.PORT), '127.0.0.1');
