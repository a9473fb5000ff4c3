// A note, kept by three tool calls of Anthropic's own SDK, streamed. Prints what came of it as JSON.
import Anthropic from "@anthropic-ai/sdk";

const [, , url, prompt, model] = process.argv;
const client = new Anthropic({ baseURL: url, apiKey: process.env.HYPEREAL_API_KEY, maxRetries: 0 });
const input_schema = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const tools = ["write_note", "read_note", "edit_note"].map((name) => ({ name, input_schema }));
const messages = [{ role: "user", content: prompt }];
const calls = [];
let credits = 0;
for (;;) {
  const stream = client.messages.stream({ model, max_tokens: 4096, messages, tools });
  stream.on("streamEvent", (event) => {
    credits += event.hypereal?.billing.credits_charged ?? 0;
  });
  const message = await stream.finalMessage();
  messages.push({ role: "assistant", content: message.content });
  const made = message.content.filter((block) => block.type === "tool_use");
  if (!made.length) {
    const counted = await client.messages.countTokens({ model, messages: messages.slice(0, 1) });
    console.log(JSON.stringify({ messages: { calls, credits, text: message.content.at(-1).text }, counted }));
    break;
  }
  calls.push(...made.map((block) => [block.name, block.input]));
  const content = made.map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "done" }));
  messages.push({ role: "user", content });
}
