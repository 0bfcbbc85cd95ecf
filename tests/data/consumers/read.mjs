// Reads {css, scss, less, tailwind, dtcg, source} from standard input and prints what each consumer makes of it: name to value.
import { readFileSync } from "node:fs";
import { ident, parse, walk, generate } from "css-tree";
import { transform } from "lightningcss";
import postcss from "postcss";
import * as sass from "sass";

const { css, scss, less, tailwind, uses, dtcg, source } = JSON.parse(readFileSync(0, "utf8"));
const found = {};

if (css !== undefined) {
  found["css-tree"] = {};
  const tree = parse(css, { parseCustomProperty: true, onParseError: (error) => { throw error; } });
  walk(tree, (node) => {
    if (node.type === "Raw") throw new Error(`not understood: ${node.value}`);
    if (node.type === "Declaration") found["css-tree"][ident.decode(node.property)] = generate(node.value);
  });
  found.postcss = {};
  postcss.parse(css).walkDecls((one) => { found.postcss[ident.decode(one.prop)] = one.value; });
  found.lightningcss = {};
  transform({
    filename: "tokens.css",
    code: Buffer.from(css),
    visitor: { Declaration: { custom(one) { found.lightningcss[one.name] = one.value.length; } } },
  });
}
if (scss !== undefined) {
  const lines = uses.map(([property, text]) => `${property}: ${text};`).join("\n");
  const compiled = sass.compileString(`${scss}\na {\n${lines}\n}`, { logger: sass.Logger.silent });
  found.sass = {};
  postcss.parse(compiled.css).walkDecls((one) => { found.sass[one.prop] = one.value; });
}
if (less !== undefined) {
  const { default: compiler } = await import("less");
  const lines = uses.map(([property, text]) => `${property}: ${text};`).join("\n");
  const compiled = await compiler.render(`${less}\na {\n${lines}\n}`);
  found.less = {};
  postcss.parse(compiled.css).walkDecls((one) => { found.less[one.prop] = one.value; });
}
if (tailwind !== undefined) {
  const { compile } = await import("tailwindcss");
  const compiled = (await compile(`${tailwind}\n@tailwind utilities;`)).build(uses);
  found.tailwind = {};
  postcss.parse(compiled).walkDecls((one) => { found.tailwind[`${one.parent.selector} ${one.prop}`] = one.value; });
}
const { default: StyleDictionary } = dtcg ?? source ? await import("style-dictionary") : {};
const dictionaryOf = (tokens, platform) =>
  new StyleDictionary({ tokens, log: { verbosity: "silent", warnings: "disabled" }, platforms: { own: platform } });
if (dtcg !== undefined) {
  const { allTokens } = await dictionaryOf(dtcg, { transforms: [] }).getPlatformTokens("own");
  found["style-dictionary"] = Object.fromEntries(allTokens.map((one) => [one.path.join("."), one.$value]));
}
if (source !== undefined) {
  const { allTokens } = await dictionaryOf(source, { transformGroup: "css" }).getPlatformTokens("own");
  found.source = Object.fromEntries(allTokens.map((one) => [one.name, one.value]));
}
console.log(JSON.stringify(found));
