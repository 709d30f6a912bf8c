'use strict';
// Loaded by Node before a program (node --require): what is meant for Airtable's hosts goes to the platform at
// AIRTABLE_ENDPOINT_URL. Changes http, https and the global fetch, which airtable.js, node-fetch, axios, got and others
// are built on. Needs Node 16 or later, and nothing else.

const http = require('http');
const https = require('https');
const { syncBuiltinESMExports } = require('module');

const HOSTS = new Set(['api.airtable.com', 'content.airtable.com', 'airtable.com']);

const isAirtable = (host) => typeof host === 'string' && HOSTS.has(host.toLowerCase().replace(/\.$/, ''));

function platform(text) {
  let url = null;
  try {
    url = new URL(text.trim());
  } catch {
    // Told below.
  }
  if (url === null || !['http:', 'https:'].includes(url.protocol) || isAirtable(url.hostname)) {
    process.stderr.write(`pyat: nothing is redirected: AIRTABLE_ENDPOINT_URL: ${text} is not the URL of a platform.\n`);
    return null;
  }
  return url;
}

function install(target) {
  const prefix = target.pathname.replace(/\/+$/, '');
  const modules = { 'http:': http, 'https:': https };
  const originals = { 'http:': http.request, 'https:': https.request };

  // Clients put the prefix on some of their paths themselves; it is not doubled.
  const pathOf = (path) => (path === prefix || path.startsWith(`${prefix}/`) ? path : prefix + path);

  // Where a request to this URL goes instead; null for URLs that are not ours to touch.
  function aimed(text) {
    let url;
    try {
      url = new URL(text);
    } catch {
      return null;
    }
    if (!(url.protocol in modules) || !isAirtable(url.hostname)) {
      return null;
    }
    return new URL(target.origin + pathOf(url.pathname) + url.search);
  }

  function withoutHost(headers) {
    if (headers === undefined || headers === null) {
      return headers;
    }
    if (Array.isArray(headers)) {
      const kept = [];
      if (headers.every(Array.isArray)) {
        return headers.filter(([name]) => String(name).toLowerCase() !== 'host');
      }
      for (let place = 0; place < headers.length; place += 2) {
        if (String(headers[place]).toLowerCase() !== 'host') {
          kept.push(headers[place], headers[place + 1]);
        }
      }
      return kept;
    }
    return Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'host'));
  }

  // The options of http.request for a request to the platform; null for a request that is not ours to touch.
  function optionsOf(scheme, input, options) {
    const given = {};
    if (typeof input === 'string' || input instanceof URL) {
      const url = new URL(input);
      Object.assign(given, { protocol: url.protocol, hostname: url.hostname, path: url.pathname + url.search });
    } else {
      Object.assign(given, input);
    }
    Object.assign(given, options);
    const host = given.hostname || given.host;
    if (given.socketPath || !isAirtable(typeof host === 'string' ? host.replace(/:\d+$/, '') : host)) {
      return null;
    }
    for (const name of ['host', 'port', 'defaultPort', 'servername', 'href', '_defaultAgent', 'createConnection']) {
      delete given[name];
    }
    if (given.agent && given.agent.protocol !== target.protocol) {
      delete given.agent;
    }
    return Object.assign(given, {
      protocol: target.protocol,
      hostname: target.hostname.replace(/^\[|\]$/g, ''),
      port: target.port || (target.protocol === 'https:' ? 443 : 80),
      path: pathOf(given.path || '/'),
      headers: withoutHost(given.headers),
    });
  }

  for (const [scheme, module] of Object.entries(modules)) {
    const { request: originalRequest } = module;
    const request = function request(input, options, callback) {
      let sent = null;
      try {
        const isCallback = typeof options === 'function';
        sent = optionsOf(scheme, input, isCallback ? undefined : options);
        if (sent !== null && isCallback) {
          callback = options;
        }
      } catch {
        // Not a URL: the original says so in its own words.
      }
      return sent === null
        ? Reflect.apply(originalRequest, this, arguments)
        : originals[target.protocol].call(modules[target.protocol], sent, callback);
    };
    module.request = request;
    module.get = function get(...given) {
      const started = Reflect.apply(request, this, given);
      started.end();
      return started;
    };
  }
  syncBuiltinESMExports();

  if (typeof globalThis.fetch === 'function') {
    const original = globalThis.fetch;
    const fetch = async function fetch(input, init) {
      const isRequest = typeof Request === 'function' && input instanceof Request;
      const url = aimed(isRequest ? input.url : String(input));
      if (url === null) {
        return original.call(this, input, init);
      }
      if (!isRequest) {
        return original.call(this, url, init);
      }
      return original.call(this, new Request(url, input), init);
    };
    Object.defineProperty(globalThis, 'fetch', { value: fetch, writable: true, enumerable: true, configurable: true });
  }
}

const endpoint = process.env.AIRTABLE_ENDPOINT_URL;
if (endpoint) {
  const target = platform(endpoint);
  if (target !== null) {
    install(target);
  }
}
