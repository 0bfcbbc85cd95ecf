// Prints documents that a backend would make of files which others publish: design tokens and translations.
import { readFileSync, readdirSync } from "node:fs";
import JSON5 from "json5";

const read = (path) => readFileSync(`node_modules/${path}`, "utf8");
const files = (path) => readdirSync(`node_modules/${path}`).filter((name) => /\.json5?$/.test(name)).sort();

function openProps() {
  const tokens = [];
  let others = 0;
  for (const [name, { $value: value, $type: type }] of Object.entries(JSON.parse(read("open-props/open-props.tokens.json")))) {
    const own = name.slice(2);
    const points = /^cubic-bezier\(([^)]*)\)$/.exec(value);
    if (type === "color") tokens.push({ name: own, type, value });
    else if (points) tokens.push({ name: own, type: "cubicBezier", value: points[1].split(",").map(Number) });
    else if (/^-?[\d.]+(px|rem)$/.test(value)) tokens.push({ name: own, type: "dimension", value });
    else others += 1; // expressions of CSS, which no token can be: clamp(), lists of layers, ch
  }
  return { document: { tokens }, others };
}

function join(into, from) {
  for (const [name, value] of Object.entries(from)) {
    const isGroup = value !== null && typeof value === "object" && name in into && !Array.isArray(value);
    into[name] = isGroup ? join(into[name], value) : value;
  }
  return into;
}

function primer() {
  const base = "@primer/primitives/src/tokens/base";
  const names = ["color/light/light", "size/size", "typography/typography", "motion/easing", "motion/timing"];
  const tokens = names.map((name) => JSON5.parse(read(`${base}/${name}.json5`))).reduce(join, {});
  const { transparent } = tokens.base.color; // whose alpha stands beside $value, where the format has none
  transparent.$value.alpha = transparent.alpha;
  delete transparent.alpha;
  return { document: { tokens }, others: 0 };
}

const SPECTRUM = { color: "color", dimension: "dimension", opacity: "number", multiplier: "number", alias: null };
const MODES = ["light", "dark", "wireframe", "desktop", "mobile"];

function spectrum() {
  const all = Object.assign({}, ...files("@adobe/spectrum-tokens/src").map((name) => JSON.parse(read(`@adobe/spectrum-tokens/src/${name}`))));
  const kindOf = ($schema) => $schema.split("/").at(-1).replace(".json", "");
  const channels = (text) => /^rgba?\((.*)\)$/.exec(text)?.[1].split(",").map(Number);
  const write = (kind, value) => {
    if (kind !== "color") return kind === "multiplier" ? Number(value) : value;
    const [red, green, blue, alpha = 1] = channels(value);
    return { colorSpace: "srgb", components: [red, green, blue].map((one) => one / 255), alpha };
  };
  const isMeasure = (one) => kindOf(one.$schema) !== "dimension" || /^-?[\d.]+(px|rem)$/.test(one.value);
  const isKnown = (one) => kindOf(one.$schema) in SPECTRUM && isMeasure(one);
  const targetOf = (one) => (kindOf(one.$schema) === "alias" ? one.value.slice(1, -1) : null);
  const typeOf = (name, seen = new Set()) => {
    const token = all[name];
    if (token === undefined || seen.has(name)) return undefined;
    const one = token.sets ? Object.values(token.sets)[0] : token;
    if (!isKnown(one) || (token.sets && !Object.values(token.sets).every(isKnown))) return undefined;
    const targets = (token.sets ? Object.values(token.sets) : [token]).map(targetOf).filter(Boolean);
    const types = targets.map((target) => typeOf(target, new Set([...seen, name])));
    if (types.includes(undefined)) return undefined;
    return types[0] ?? SPECTRUM[kindOf(one.$schema)];
  };
  const tokens = [];
  let others = 0;
  for (const [name, token] of Object.entries(all)) {
    const type = typeOf(name);
    if (type === undefined) {
      others += 1; // styles, alignments, shadows in parts, em, and what is an alias to them
      continue;
    }
    const sets = token.sets ?? { light: token };
    const values = Object.fromEntries(Object.entries(sets).map(([mode, one]) => [mode, write(kindOf(one.$schema), one.value)]));
    const [first, ...rest] = Object.keys(values);
    const modes = Object.fromEntries(rest.map((mode) => [mode, values[mode]]));
    tokens.push({ name, type, value: values[first], modes });
  }
  return { document: { modes: MODES, tokens }, others };
}

function texts(languages, entriesOf) {
  const entries = {};
  for (const [language, found] of languages.map((one) => [one, entriesOf(one)])) {
    for (const [key, text] of Object.entries(found)) {
      entries[key] ??= { id: key, key, values: {} };
      entries[key].values[language] = Array.isArray(text) ? text[0] : text;
    }
  }
  return { document: { languages, entries: Object.values(entries) }, others: 0 };
}

const stems = (path) => files(path).map((name) => name.replace(".json", ""));
const lists = (path, member) => texts(stems(path), (language) => JSON.parse(read(`${path}/${language}.json`))[member]);

function docusaurus() {
  const path = "@docusaurus/theme-translations/locales";
  const languages = readdirSync(`node_modules/${path}`).filter((name) => name !== "base").sort();
  return texts(languages, (language) =>
    Object.assign({}, ...files(`${path}/${language}`).map((name) => JSON.parse(read(`${path}/${language}/${name}`)))));
}

console.log(JSON.stringify({
  "open-props": openProps(),
  "@primer/primitives": primer(),
  "@adobe/spectrum-tokens": spectrum(),
  "i18n-iso-countries": lists("i18n-iso-countries/langs", "countries"),
  "@cospired/i18n-iso-languages": lists("@cospired/i18n-iso-languages/langs", "languages"),
  "@docusaurus/theme-translations": docusaurus(),
}));
