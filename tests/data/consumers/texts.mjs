// Reads {format: [{content, language, keys, counts}]} from standard input, where i18next and arb need more than content,
// and prints what each consumer makes of them: name to text, and of plural forms name to texts.
import { readFileSync } from "node:fs";
import { parse as parseMessage } from "@formatjs/icu-messageformat-parser";
import gettext from "gettext-parser";
import i18next from "i18next";
import { load } from "js-yaml";
import { xliff2js } from "xliff";

const flatten = (value, way = []) =>
  value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([name, inner]) => flatten(inner, [...way, name]))
    : [[way.join("."), value]];

const readers = {
  async i18next({ content, language, keys, counts, isFlat }) {
    const instance = i18next.createInstance();
    const resources = { [language]: { translation: JSON.parse(content) } };
    await instance.init({
      lng: language, resources, nsSeparator: false, returnEmptyString: true, showSupportNotice: false,
      keySeparator: isFlat ? false : ".",
    });
    const said = keys.map((key) => [key, instance.t(key, { skipInterpolation: true })]);
    const plural = Object.entries(counts ?? {}).map(([key, numbers]) => [
      key, numbers.map((count) => instance.t(key, { count, skipInterpolation: true })),
    ]);
    return Object.fromEntries([...said, ...plural]);
  },
  po({ content }) {
    const { translations } = gettext.po.parse(Buffer.from(content));
    const entries = Object.values(translations[""]).filter((one) => one.msgid !== "");
    return Object.fromEntries(entries.map((one) => [one.msgid, one.msgid_plural ? one.msgstr : one.msgstr[0]]));
  },
  yaml: ({ content }) => Object.fromEntries(flatten(load(content))),
  async xliff({ content }) {
    const { resources, sourceLanguage, targetLanguage } = await xliff2js(content);
    return { sourceLanguage, targetLanguage, ...resources.texts };
  },
  arb({ content, keys }) {
    const messages = JSON.parse(content);
    for (const key of keys) parseMessage(messages[key]);
    return messages;
  },
};

const found = {};
for (const [format, given] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  found[format] = await Promise.all(given.map(readers[format]));
}
console.log(JSON.stringify(found));
