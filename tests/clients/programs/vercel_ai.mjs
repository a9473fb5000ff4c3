// A note, kept by three tool calls of the Vercel AI SDK, over each of its providers. Prints what came of it as JSON.
import { generateText, jsonSchema, stepCountIs, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const [, , url, prompt, model] = process.argv;
const apiKey = process.env.HYPEREAL_API_KEY;
const baseURL = `${url}/v1/managed`;
const inputSchema = jsonSchema({ type: "object", properties: { text: { type: "string" } }, required: ["text"] });

async function keep(languageModel) {
  const calls = [];
  const made = (name) =>
    tool({ inputSchema, execute: async (input) => (calls.push([name, input]), "done") });
  const tools = Object.fromEntries(["write_note", "read_note", "edit_note"].map((name) => [name, made(name)]));
  const { text } = await generateText({ model: languageModel, prompt, tools, stopWhen: stepCountIs(6), maxRetries: 0 });
  return { calls, text };
}

console.log(
  JSON.stringify({
    chat: await keep(createOpenAICompatible({ name: "hypereal", baseURL, apiKey })(model)),
    responses: await keep(createOpenAI({ baseURL, apiKey }).responses(model)),
    messages: await keep(createAnthropic({ baseURL: `${url}/v1`, apiKey })(model)),
  }),
);
