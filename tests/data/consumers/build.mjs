// A Style Dictionary build: the file that the first argument names becomes variables.css.
import StyleDictionary from "style-dictionary";

const dictionary = new StyleDictionary({
  source: [process.argv[2]],
  log: { verbosity: "silent", warnings: "disabled" },
  platforms: {
    css: { transformGroup: "css", buildPath: `${process.argv[3]}/`, files: [{ destination: "variables.css", format: "css/variables" }] },
  },
});
await dictionary.buildAllPlatforms();
