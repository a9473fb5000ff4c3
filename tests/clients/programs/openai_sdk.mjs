// A note, kept by three tool calls of OpenAI's own SDK: chat streamed, then Responses. Prints what came of it as JSON.
import OpenAI from "openai";

const [, , url, prompt, model] = process.argv;
const client = new OpenAI({ baseURL: `${url}/v1/managed`, apiKey: process.env.HYPEREAL_API_KEY, maxRetries: 0 });
const parameters = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const names = ["write_note", "read_note", "edit_note"];

async function chat() {
  const tools = names.map((name) => ({ type: "function", function: { name, parameters } }));
  const messages = [{ role: "user", content: prompt }];
  const calls = [];
  let credits = 0;
  for (;;) {
    const stream = client.chat.completions.stream({ model, messages, tools, stream_options: { include_usage: true } });
    for await (const chunk of stream) credits += chunk.hypereal?.billing.credits_charged ?? 0;
    const { message } = (await stream.finalChatCompletion()).choices[0];
    messages.push(message);
    if (!message.tool_calls?.length) return { calls, credits, text: message.content };
    for (const call of message.tool_calls) {
      calls.push([call.function.name, JSON.parse(call.function.arguments)]);
      messages.push({ role: "tool", tool_call_id: call.id, content: "done" });
    }
  }
}

async function responses() {
  const tools = names.map((name) => ({ type: "function", name, parameters }));
  const input = [{ role: "user", content: prompt }];
  const calls = [];
  let credits = 0;
  for (;;) {
    const response = await client.responses.create({ model, input, tools, include: ["reasoning.encrypted_content"] });
    credits += response.hypereal.billing.credits_charged;
    input.push(...response.output);
    const made = response.output.filter((item) => item.type === "function_call");
    if (!made.length) return { calls, credits, text: response.output_text };
    for (const call of made) {
      calls.push([call.name, JSON.parse(call.arguments)]);
      input.push({ type: "function_call_output", call_id: call.call_id, output: "done" });
    }
  }
}

console.log(JSON.stringify({ chat: await chat(), responses: await responses() }));
