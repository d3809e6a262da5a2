// A session of one library of JavaScript: `session.mjs LIBRARY URL KEY MODEL FOLDER`, the steps as JSON on the first line of the
// input. For each step a line goes out: {"step", "text"} or {"step", "error"}. It is the same as session.py; the packages are those
// of the folder that it is run in.
import { execSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [library, url, key, model, folder] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), "package.json"));
const load = async (name) => {
  const root = join(process.cwd(), "node_modules", name);
  const about = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  let entry = about.exports?.["."] ?? about.module ?? about.main;
  for (const kind of ["node", "import", "default"]) if (typeof entry === "object" && entry[kind]) entry = entry[kind];
  if (typeof entry === "object") entry = entry.default;
  return import(pathToFileURL(typeof entry === "string" ? join(root, entry) : require.resolve(name)));
};
const version = (name) => JSON.parse(readFileSync(join(process.cwd(), "node_modules", name, "package.json"), "utf8")).version;

const SYSTEM = "You work on the files of a folder with the tools that you have. ".repeat(20);
const SUM_UP = "Give a summary of all that was done.";
const FULL = ["context_length", "prompt is too long", "exceeds the maximum number of tokens", "maximum context length"];
const STREAMED = ["edit", "two", "think", "resume"];
const TOOLS = {
  read_file: ["Read a file", ["path"]],
  edit_file: ["Put a text in the place of another", ["path", "old_string", "new_string"]],
  shell: ["Run a command", ["command"]],
};
const schema = (fields) => ({
  type: "object",
  properties: Object.fromEntries(fields.map((name) => [name, { type: "string" }])),
  required: fields,
});
const tools = (make) => Object.entries(TOOLS).map(([name, [words, fields]]) => make(name, words, schema(fields)));

function use(name, given) {
  if (name === "read_file") return readFileSync(given.path, "utf8");
  if (name === "edit_file") {
    writeFileSync(given.path, readFileSync(given.path, "utf8").replaceAll(given.old_string, given.new_string));
    return "edited";
  }
  return execSync(given.command, { cwd: folder, encoding: "utf8", timeout: 60000 });
}

class Conversation {
  history = [];
  async turn(prompt, picture, streamed) {
    this.say(prompt, picture);
    for (let round = 0; round < 8; round++) {
      const { text, calls } = await this.ask(streamed, true);
      if (!calls.length) return text;
      this.results(calls.map((call) => ({ ...call, result: use(call.name, call.given) })));
    }
    throw new Error("the calls do not end");
  }
  resume() {
    this.history = JSON.parse(JSON.stringify(this.history));
  }
  async sumUp() {
    this.history.pop();
    this.say(SUM_UP);
    const { text } = await this.ask(false, false);
    this.history = [];
    this.say(`So far: ${text}`);
    this.answer("Understood.");
  }
}

class OpenAIChat extends Conversation {
  async connect() {
    const { OpenAI } = await load("openai");
    this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
  }
  say(prompt, picture) {
    const content = [{ type: "text", text: prompt }];
    if (picture) content.push({ type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } });
    this.history.push({ role: "user", content });
  }
  answer(text) {
    this.history.push({ role: "assistant", content: text });
  }
  request(withTools) {
    const made = tools((name, description, parameters) => ({ type: "function", function: { name, description, parameters } }));
    return { model, messages: [{ role: "system", content: SYSTEM }, ...this.history], ...(withTools && { tools: made }) };
  }
  async ask(streamed, withTools) {
    const asked = this.request(withTools);
    const answer = streamed
      ? await this.client.chat.completions.stream(asked).finalChatCompletion()
      : await this.client.chat.completions.create(asked);
    const said = answer.choices[0].message;
    this.history.push({ role: "assistant", content: said.content, ...(said.tool_calls?.length && { tool_calls: said.tool_calls }) });
    const calls = (said.tool_calls ?? []).map((call) => ({
      id: call.id,
      name: call.function.name,
      given: JSON.parse(call.function.arguments),
    }));
    return { text: said.content, calls };
  }
  results(results) {
    for (const one of results) this.history.push({ role: "tool", tool_call_id: one.id, content: one.result });
  }
  async interrupt(prompt) {
    this.say(prompt);
    const stream = await this.client.chat.completions.create({ ...this.request(true), stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
  }
}

class OpenAIResponses extends OpenAIChat {
  say(prompt, picture) {
    const content = [{ type: "input_text", text: prompt }];
    if (picture) content.push({ type: "input_image", image_url: `data:image/png;base64,${picture}`, detail: "auto" });
    this.history.push({ type: "message", role: "user", content });
  }
  request(withTools) {
    const made = tools((name, description, parameters) => ({ type: "function", name, description, parameters, strict: false }));
    const more = { store: false, include: ["reasoning.encrypted_content"], reasoning: { effort: "low", summary: "auto" } };
    return { model, instructions: SYSTEM, input: this.history, ...more, ...(withTools && { tools: made }) };
  }
  async ask(streamed, withTools) {
    const asked = this.request(withTools);
    const answer = streamed
      ? await this.client.responses.stream(asked).finalResponse()
      : await this.client.responses.create(asked);
    for (const { parsed_arguments: _, ...item } of answer.output) this.history.push(item);
    const calls = answer.output.filter((item) => item.type === "function_call");
    return {
      text: answer.output_text,
      calls: calls.map((call) => ({ id: call.call_id, name: call.name, given: JSON.parse(call.arguments) })),
    };
  }
  results(results) {
    for (const one of results) this.history.push({ type: "function_call_output", call_id: one.id, output: one.result });
  }
  async interrupt(prompt) {
    this.say(prompt);
    const stream = await this.client.responses.create({ ...this.request(true), stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
  }
}

class Anthropic extends Conversation {
  async connect() {
    const made = await load("@anthropic-ai/sdk");
    this.client = new (made.Anthropic ?? made.default)({ baseURL: url, apiKey: key });
  }
  say(prompt, picture) {
    const content = [{ type: "text", text: prompt }];
    if (picture) content.push({ type: "image", source: { type: "base64", media_type: "image/png", data: picture } });
    this.history.push({ role: "user", content });
  }
  answer(text) {
    this.history.push({ role: "assistant", content: text });
  }
  request(withTools) {
    const made = tools((name, description, input_schema) => ({ name, description, input_schema }));
    const mark = { cache_control: { type: "ephemeral" } };
    const last = this.history.at(-1);
    const marked = { ...last, content: [...last.content.slice(0, -1), { ...last.content.at(-1), ...mark }] };
    const system = [{ type: "text", text: SYSTEM, ...mark }];
    const thinking = { type: "enabled", budget_tokens: 2000 };
    const messages = [...this.history.slice(0, -1), marked];
    return { model, max_tokens: 8000, system, thinking, messages, ...(withTools && { tools: made }) };
  }
  async ask(streamed, withTools) {
    const asked = this.request(withTools);
    const answer = streamed ? await this.client.messages.stream(asked).finalMessage() : await this.client.messages.create(asked);
    this.history.push({ role: "assistant", content: answer.content });
    return {
      text: answer.content.map((block) => block.text ?? "").join(""),
      calls: answer.content
        .filter((block) => block.type === "tool_use")
        .map((block) => ({ id: block.id, name: block.name, given: block.input })),
    };
  }
  results(results) {
    const content = results.map((one) => ({ type: "tool_result", tool_use_id: one.id, content: one.result }));
    this.history.push({ role: "user", content });
  }
  async interrupt(prompt) {
    this.say(prompt);
    const stream = await this.client.messages.create({ ...this.request(true), stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
  }
}

class Google extends Conversation {
  async connect() {
    const { GoogleGenAI } = await load("@google/genai");
    this.client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url, retryOptions: { attempts: 5 } } });
  }
  say(prompt, picture) {
    const parts = [{ text: prompt }];
    if (picture) parts.push({ inlineData: { mimeType: "image/png", data: picture } });
    this.history.push({ role: "user", parts });
  }
  answer(text) {
    this.history.push({ role: "model", parts: [{ text }] });
  }
  request(withTools) {
    const made = tools((name, description, parametersJsonSchema) => ({ name, description, parametersJsonSchema }));
    const config = { systemInstruction: SYSTEM, thinkingConfig: { includeThoughts: true } };
    if (withTools) config.tools = [{ functionDeclarations: made }];
    return { model, contents: this.history, config };
  }
  async ask(streamed, withTools) {
    const asked = this.request(withTools);
    let parts = [];
    if (streamed) {
      for await (const chunk of await this.client.models.generateContentStream(asked))
        parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
    } else parts = (await this.client.models.generateContent(asked)).candidates[0].content.parts;
    this.history.push({ role: "model", parts });
    return {
      text: parts.map((part) => (part.thought ? "" : (part.text ?? ""))).join(""),
      calls: parts
        .filter((part) => part.functionCall)
        .map(({ functionCall: call }) => ({ id: call.id, name: call.name, given: call.args })),
    };
  }
  results(results) {
    const parts = results.map((one) => ({
      functionResponse: { name: one.name, response: { output: one.result }, ...(one.id && { id: one.id }) },
    }));
    this.history.push({ role: "user", parts });
  }
  async interrupt(prompt) {
    this.say(prompt);
    const leaving = new AbortController();
    const asked = this.request(true);
    const stream = await this.client.models.generateContentStream({
      ...asked,
      config: { ...asked.config, abortSignal: leaving.signal },
    });
    for await (const _ of stream) break;
    leaving.abort();
  }
}

class Vercel extends Conversation {
  async connect() {
    this.ai = await load("ai");
    this.model = await this.vendor();
    this.tools = Object.fromEntries(
      Object.entries(TOOLS).map(([name, [description, fields]]) => [
        name,
        this.ai.tool({ description, inputSchema: this.ai.jsonSchema(schema(fields)), execute: (given) => use(name, given) }),
      ]),
    );
  }
  say(prompt, picture) {
    const content = [{ type: "text", text: prompt }];
    if (picture) content.push({ type: "image", image: picture, mediaType: "image/png" });
    this.history.push({ role: "user", content });
  }
  answer(text) {
    this.history.push({ role: "assistant", content: text });
  }
  asked(withTools) {
    const asked = { model: this.model, system: SYSTEM, messages: this.history, stopWhen: this.ai.stepCountIs(8), maxRetries: 3 };
    return withTools ? { ...asked, tools: this.tools } : asked;
  }
  async ask(streamed, withTools) {
    let answer;
    if (streamed) {
      const failures = [];
      answer = this.ai.streamText({ ...this.asked(withTools), onError: ({ error }) => failures.push(error) });
      for await (const _ of answer.fullStream);
      if (failures.length) throw failures[0];
    } else answer = await this.ai.generateText(this.asked(withTools));
    this.history.push(...(await answer.response).messages);
    return { text: await answer.text, calls: [] };
  }
  async interrupt(prompt) {
    this.say(prompt);
    const leaving = new AbortController();
    const answer = this.ai.streamText({ ...this.asked(true), abortSignal: leaving.signal, onError: () => {} });
    for await (const one of answer.fullStream) if (one.type === "text-delta") break;
    leaving.abort();
  }
}
class VercelOpenAI extends Vercel {
  async vendor() {
    return (await load("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(model);
  }
}
class VercelAnthropic extends Vercel {
  async vendor() {
    return (await load("@ai-sdk/anthropic")).createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(model);
  }
}
class VercelGoogle extends Vercel {
  async vendor() {
    return (await load("@ai-sdk/google")).createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(model);
  }
}

class LangChain extends Conversation {
  async connect() {
    this.words = await load("@langchain/core/messages").catch(() => import(pathToFileURL(require.resolve("@langchain/core/messages"))));
    this.chat = await this.vendor();
    const made = tools((name, description, parameters) => ({ type: "function", function: { name, description, parameters } }));
    this.bound = this.chat.bindTools(made);
  }
  say(prompt, picture) {
    const content = [{ type: "text", text: prompt }];
    if (picture) content.push({ type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } });
    this.history.push(new this.words.HumanMessage({ content }));
  }
  answer(text) {
    this.history.push(new this.words.AIMessage(text));
  }
  async ask(streamed, withTools) {
    const chat = withTools ? this.bound : this.chat;
    const asked = [new this.words.SystemMessage(SYSTEM), ...this.history];
    let whole;
    if (streamed) for await (const chunk of await chat.stream(asked)) whole = whole ? whole.concat(chunk) : chunk;
    else whole = await chat.invoke(asked);
    this.history.push(whole);
    return { text: whole.text, calls: (whole.tool_calls ?? []).map((call) => ({ id: call.id, name: call.name, given: call.args })) };
  }
  results(results) {
    for (const one of results)
      this.history.push(new this.words.ToolMessage({ content: one.result, tool_call_id: one.id, name: one.name }));
  }
  resume() {
    this.history = this.words.mapStoredMessagesToChatMessages(
      JSON.parse(JSON.stringify(this.words.mapChatMessagesToStoredMessages(this.history))),
    );
  }
  async interrupt(prompt) {
    this.say(prompt);
    const leaving = new AbortController();
    const stream = await this.bound.stream([new this.words.SystemMessage(SYSTEM), ...this.history], { signal: leaving.signal });
    for await (const _ of stream) break;
    leaving.abort();
  }
}
class LangChainOpenAI extends LangChain {
  async vendor() {
    const { ChatOpenAI } = await load("@langchain/openai");
    return new ChatOpenAI({ model, apiKey: key, configuration: { baseURL: `${url}/v1` }, useResponsesApi: false });
  }
}
class LangChainAnthropic extends LangChain {
  async vendor() {
    const { ChatAnthropic } = await load("@langchain/anthropic");
    return new ChatAnthropic({ model, apiKey: key, anthropicApiUrl: url, maxTokens: 8000 });
  }
}
class LangChainGoogle extends LangChain {
  async vendor() {
    const { ChatGoogleGenerativeAI } = await load("@langchain/google-genai");
    return new ChatGoogleGenerativeAI({ model, apiKey: key, baseUrl: url });
  }
}

const LIBRARIES = {
  "openai-js": [OpenAIChat, "openai"],
  "openai-responses-js": [OpenAIResponses, "openai"],
  "anthropic-js": [Anthropic, "@anthropic-ai/sdk"],
  "google-genai-js": [Google, "@google/genai"],
  "ai-openai": [VercelOpenAI, "ai"],
  "ai-anthropic": [VercelAnthropic, "ai"],
  "ai-google": [VercelGoogle, "ai"],
  "langchain-js-openai": [LangChainOpenAI, "@langchain/openai"],
  "langchain-js-anthropic": [LangChainAnthropic, "@langchain/anthropic"],
  "langchain-js-google": [LangChainGoogle, "@langchain/google-genai"],
};

async function step(conversation, name, prompt, picture) {
  if (name === "interrupt") return (await conversation.interrupt(prompt)) ?? "";
  if (name === "resume") conversation.resume();
  if (name !== "overflow") return conversation.turn(prompt, name === "picture" ? picture : undefined, STREAMED.includes(name));
  try {
    await conversation.turn(prompt, undefined, false);
  } catch (error) {
    if (!FULL.some((word) => `${error}${error.responseBody ?? ""}${JSON.stringify(error)}`.includes(word))) throw error;
    await conversation.sumUp();
  }
  return conversation.turn(prompt, undefined, false);
}

const tell = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
for (const name of ["log", "info", "warn", "debug"]) console[name] = console.error;
process.on("unhandledRejection", () => {}); // Google's older library rejects once more after an abort
const asked = JSON.parse(readFileSync(0, "utf8").split("\n")[0]);
const picture = readFileSync(join(folder, "picture.png")).toString("base64");
const [Made, named] = LIBRARIES[library];
tell({ version: version(named) });
const conversation = new Made();
await conversation.connect();
for (const [name, prompt] of asked) {
  try {
    tell({ step: name, text: (await step(conversation, name, prompt, picture)) ?? "" });
  } catch (error) {
    tell({ step: name, error: `${error?.name}: ${error?.message ?? error}`.slice(0, 900) });
  }
}
process.exit(0);
