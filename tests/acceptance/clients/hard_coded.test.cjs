// A program as its author wrote it for Airtable: every client asks the hosts of Airtable.
// Takes the id of a base with a table `Things` (fields Name and Files). Prints what came back as one line of JSON.
'use strict';

const http = require('node:http');
const https = require('node:https');
const Airtable = require('airtable');
const nodeFetch = require('node-fetch');

const [, , baseId] = process.argv;
const token = process.env.AIRTABLE_API_KEY;
const headers = { Authorization: `Bearer ${token}` };
const path = '/v0/meta/whoami';
const url = `https://api.airtable.com${path}`;

const body = (response) =>
  new Promise((resolve, reject) => {
    let text = '';
    response.on('data', (piece) => {
      text += piece;
    });
    response.on('end', () => resolve(JSON.parse(text)));
    response.on('error', reject);
  });

const asked = (start) =>
  new Promise((resolve, reject) => {
    start((response) => resolve(body(response))).on('error', reject);
  });

async function main() {
  const table = new Airtable({ apiKey: token, endpointUrl: 'https://api.airtable.com' }).base(baseId)('Things');
  const made = await table.create({ Name: 'by airtable.js' });
  const found = await table.select().all();

  const content = Buffer.from('hello, platform\n').toString('base64');
  const upload = await fetch(`https://content.airtable.com/v0/${baseId}/${made.id}/Files/uploadAttachment`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ contentType: 'text/plain', filename: 'hello.txt', file: content }),
  });
  const uploaded = Object.values((await upload.json()).fields)[0];
  const sent = new Request(`https://api.airtable.com/v0/${baseId}/Things`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ fields: { Name: 'by a request' } }),
  });
  const requested = await (await fetch(sent)).json();

  const esm = await import('node:https');
  const agent = new https.Agent({ keepAlive: true });
  const all = {
    fetch: await (await fetch(url, { headers })).json(),
    fetchUrl: await (await fetch(new URL(url), { headers })).json(),
    nodeFetch: await (await nodeFetch(url, { headers, agent })).json(),
    httpsGet: await asked((done) => https.get(url, { headers }, done)),
    httpsUrl: await asked((done) => https.get(new URL(url), { headers: { ...headers, Host: 'api.airtable.com' } }, done)),
    httpsRequest: await asked((done) =>
      https.request({ hostname: 'api.airtable.com', port: 443, path, headers, agent }, done).end(),
    ),
    httpRequest: await asked((done) => http.request({ host: 'api.airtable.com', path, headers }, done).end()),
    esm: await asked((done) => esm.get(url, { headers }, done)),
  };
  agent.destroy();
  const answer = {
    made: made.fields.Name,
    names: found.map((record) => record.get('Name')),
    requested: requested.fields.Name,
    file: { filename: uploaded[0].filename, url: uploaded[0].url },
    asked: all,
  };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack || JSON.stringify(error)}\n`);
  process.exitCode = 1;
});
