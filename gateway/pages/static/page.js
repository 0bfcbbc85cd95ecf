// What makes the pages quicker. All of them work without it.
"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const announce = (text) => { const box = find("#announcer"); if (box) box.textContent = text; };

  // Copying
  const copy = async (button) => {
    const source = find(button.dataset.copy);
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page without TLS has no clipboard: the text is selected, to be copied by hand
      const selection = getSelection();
      if (source.select) source.select(); else selection.selectAllChildren(source);
      if (!document.execCommand("copy")) return announce("Selected: press Ctrl or Cmd and C");
    }
    const label = find("[data-copy-label]", button);
    const before = button.dataset.label ??= label.textContent;
    label.textContent = "Copied";
    button.classList.add("done");
    announce("Copied");
    setTimeout(() => { label.textContent = before; button.classList.remove("done"); }, 1600);
  };

  // Questions in a dialog: the same form that has a page of its own
  const open = async (link) => {
    const dialog = find("#dialog");
    await htmx.ajax("GET", link.href, { target: "#dialog-part", select: "[data-part]", swap: "innerHTML" });
    const part = find("#dialog-part form");
    if (!part) { location.href = link.href; return; }
    prepare(dialog);
    link.closest("details")?.removeAttribute("open");
    dialog.showModal();
    (find("[autofocus]", dialog) || find("input:checked", dialog) || part).focus();
  };

  // A name has to be typed before something ends for good
  const check = (field) => {
    const button = find(".destroy", field.form);
    button.disabled = field.value.trim() !== field.dataset.confirm.trim();
  };
  const prepare = (within) => {
    all("[data-confirm]", within).forEach(check);
    all("[data-focus]", within).forEach((box) => box.focus());
  };

  // The palette
  const palette = find("#palette");
  const field = palette && find("input", palette);
  const options = palette ? all("[role=option]", palette) : [];
  let chosen = null;
  const choose = (option) => {
    options.forEach((one) => one.setAttribute("aria-selected", one === option));
    chosen = option;
    option?.scrollIntoView({ block: "nearest" });
    option ? field.setAttribute("aria-activedescendant", option.id) : field.removeAttribute("aria-activedescendant");
  };
  const shown = () => options.filter((one) => !one.hidden);
  const narrow = () => {
    const typed = field.value.trim();
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    for (const option of options) {
      if (option.dataset.search) {
        option.hidden = !typed;
        find("[data-typed]", option).textContent = typed;
        option.dataset.href = option.dataset.search + encodeURIComponent(typed);
      } else {
        const known = option.dataset.words.split(" ");
        option.hidden = !words.every((word) => known.some((one) => one.startsWith(word)));
      }
    }
    choose(shown()[0]);
  };
  const openPalette = () => {
    if (!palette || palette.open) return;
    field.value = "";
    narrow();
    palette.showModal();
    field.focus();
  };
  if (palette) {
    options.forEach((option, index) => { option.id = `place-${index}`; });
    field.addEventListener("input", narrow);
    palette.addEventListener("mouseover", (event) => { const over = event.target.closest("[role=option]"); if (over) choose(over); });
    field.addEventListener("keydown", (event) => {
      const places = shown(), index = places.indexOf(chosen);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); choose(places[(index + step + places.length) % places.length]); }
      if (event.key === "Enter" && chosen) { event.preventDefault(); location.href = chosen.dataset.href; }
    });
    if (/Mac|iP(hone|ad)/.test(navigator.platform)) all("[data-palette-keys]").forEach((one) => { one.textContent = "⌘ K"; });
  }

  document.addEventListener("keydown", (event) => {
    if ((event.metaKey || event.ctrlKey) && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); openPalette(); }
    if (event.key === "Escape") all(".menu[open]").forEach((menu) => { menu.removeAttribute("open"); find("summary", menu).focus(); });
  });

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest(selector);
    all(".menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.removeAttribute("open"); });
    if (at("[data-copy]")) return void copy(at("[data-copy]"));
    if (at("[data-href]")) { location.href = at("[data-href]").dataset.href; return; }
    if (at("[data-palette]")) return void openPalette();
    if (event.target.tagName === "DIALOG") return void event.target.close();
    if (at("[data-close]") && at("dialog")) { event.preventDefault(); return void at("dialog").close(); }
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    if (at("[data-dialog]")) { event.preventDefault(); return void open(at("[data-dialog]")); }
    if (at("[data-swap]")) {
      event.preventDefault();
      const target = at("[data-swap]").dataset.swap, href = at("[data-swap]").href;
      return void htmx.ajax("GET", href, { target, select: target, swap: "outerHTML" }).then(() => history.pushState({ htmx: true }, "", href));
    }
    const bundle = at("[data-bundle]");
    if (bundle) {
      event.preventDefault();
      const scopes = bundle.dataset.bundle.split(" ");
      all("[name=scope]", bundle.closest("[data-scopes]")).forEach((box) => { if (!box.disabled) box.checked = scopes.includes(box.value); });
      announce(`Ticked ${scopes.length}`);
    }
  });
  document.addEventListener("input", (event) => { if (event.target.dataset.confirm !== undefined) check(event.target); });
  document.addEventListener("focusin", (event) => { if (event.target.dataset.select !== undefined) event.target.select(); });
  document.addEventListener("change", (event) => { if (event.target.dataset.reload !== undefined) { event.stopPropagation(); location.href = `/exports?rule=${encodeURIComponent(event.target.value)}`; } }, true);
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id === "list" || event.detail.target.id === "built") {
      const count = find(".pager p") || find("#list .empty h2");
      if (event.detail.target.id === "list" && count) announce(count.textContent);
    }
  });
  prepare(document);
})();
