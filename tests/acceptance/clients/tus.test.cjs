// tus-js-client from npm uploads a file through a connection that is cut in the middle, and goes on by itself.
"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const net = require("node:net");
const tus = require("tus-js-client");

const SIZE = 24_000_000;
const CUT_AFTER_BYTES = 15_000_000;
const platform = new URL(process.env.PLATFORM_URL);

// Passes bytes on, and breaks the first connection that has carried so many.
let cuts = 0;
const proxy = net.createServer((client) => {
  const server = net.connect(Number(platform.port), platform.hostname);
  let carried = 0;
  client.on("data", (piece) => {
    carried += piece.length;
    if (cuts === 0 && carried > CUT_AFTER_BYTES) {
      cuts += 1;
      client.destroy();
      server.destroy();
      return;
    }
    if (!server.write(piece)) {
      client.pause();
      server.once("drain", () => client.resume());
    }
  });
  server.on("data", (piece) => client.write(piece));
  for (const [one, other] of [[client, server], [server, client]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
});

const content = Buffer.alloc(SIZE);
for (let at = 0; at < SIZE; at += 4) content.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);

proxy.listen(0, "127.0.0.1", () => {
  const offsets = [];
  let attachment = null;
  const upload = new tus.Upload(content, {
    endpoint: `http://127.0.0.1:${proxy.address().port}/api/v1/files/bases/${process.env.BASE_ID}/tus`,
    retryDelays: [50, 100, 200, 400, 800],
    headers: { Authorization: `Bearer ${process.env.API_KEY}` },
    metadata: { filename: "large ä.bin", filetype: "application/x-large" },
    onAfterResponse: (request, response) => {
      if (request.getMethod() === "HEAD") offsets.push(Number(response.getHeader("Upload-Offset")));
      attachment = response.getHeader("X-Attachment-Id") || attachment;
    },
    onError: (error) => {
      console.error(error);
      process.exit(1);
    },
    onSuccess: () => {
      assert.strictEqual(cuts, 1);
      // What came before the cut was kept.
      assert.ok(offsets.some((offset) => offset > 0 && offset < SIZE), `it went on at ${offsets}`);
      assert.match(attachment, /^att[0-9A-Za-z]{14}$/);
      const sha256 = crypto.createHash("sha256").update(content).digest("hex");
      console.log(JSON.stringify({ attachment, offsets, sha256, size: SIZE }));
      proxy.close();
      process.exit(0);
    },
  });
  upload.start();
});
