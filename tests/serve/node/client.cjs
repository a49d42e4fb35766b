// SPDX-License-Identifier: MIT
//
// openai for Node, as its users call it; prints what it got as JSON. Its arguments: the base URL, and the key.
"use strict";
const OpenAI = require("openai");

async function main() {
  const [baseURL, apiKey] = process.argv.slice(2);
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const messages = [{ role: "user", content: "from Node" }];
  const asked = { model: "numbers", messages, max_tokens: 8 };
  const got = {};

  got.models = [];
  for await (const model of client.models.list()) got.models.push(model.id);

  const whole = await client.chat.completions.create(asked);
  got.whole = whole.choices[0].message.content;
  got.usage = whole.usage;

  got.streamed = "";
  got.reasons = [];
  const stream = await client.chat.completions.create({
    ...asked,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      got.streamed += choice.delta.content ?? "";
      if (choice.finish_reason) got.reasons.push(choice.finish_reason);
    }
    if (chunk.usage) got.streamed_usage = chunk.usage;
  }

  // The helper that collects events.
  const runner = client.chat.completions.stream(asked);
  let delta = "";
  runner.on("content", (text) => (delta += text));
  got.collected = (await runner.finalChatCompletion()).choices[0].message.content;
  got.same = delta === got.collected;

  const completion = await client.completions.create({
    model: "numbers",
    prompt: "a prompt",
    max_tokens: 4,
    stream: true,
  });
  got.completion = "";
  for await (const chunk of completion) got.completion += chunk.choices[0].text;

  // An answer without an end, which the client leaves.
  const left = await client.chat.completions.create({ ...asked, max_tokens: 100000, stream: true });
  got.before_leaving = 0;
  for await (const chunk of left) {
    got.before_leaving += chunk.choices.length;
    if (got.before_leaving > 5) break;
  }

  got.errors = {};
  for (const [name, body, options] of [
    ["model", { ...asked, model: "none" }, {}],
    ["type", { ...asked, messages: [{ role: "user", content: 3 }] }, {}],
    ["key", asked, { headers: { Authorization: "Bearer wrong" } }],
  ]) {
    try {
      await client.chat.completions.create(body, options);
    } catch (error) {
      got.errors[name] = { class: error.constructor.name, status: error.status, param: error.param };
    }
  }
  console.log(JSON.stringify(got));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
