// Loads a language as an app does, by i18next's HTTP backend, and prints a text: URL, TOKEN and KEY are variables.
import i18next from "i18next";
import Backend from "i18next-http-backend";

await i18next.use(Backend).init({
  lng: "de",
  fallbackLng: false,
  backend: {
    loadPath: process.env.URL,
    customHeaders: { Authorization: `Bearer ${process.env.TOKEN}` },
  },
});
console.log(JSON.stringify({ text: i18next.t(process.env.KEY), is_loaded: i18next.hasResourceBundle("de", "translation") }));
