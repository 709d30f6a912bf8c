// More requests at once than the limit of the base lets through: airtable.js waits and sends the refused ones again.
// Prints one JSON line {"names": [...]} with what was acknowledged; any failure ends with exit code 1.
'use strict';

const Airtable = require('airtable');

async function main() {
  const table = new Airtable().base(process.env.BASE_ID)(process.env.TABLE_NAME);
  const names = Array.from({ length: Number(process.env.REQUESTS) }, (_, number) => `js ${number}`);
  const created = await Promise.all(names.map((Name) => table.create({ Name })));
  console.log(JSON.stringify({ names: created.map((record) => record.get('Name')) }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
