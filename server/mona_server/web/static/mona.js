// What every page does: forms that act on change, the theme, keys. All of it works without, a little slower.

for (const control of document.querySelectorAll("[data-submit]")) {
  control.addEventListener("change", () => control.form.requestSubmit());
}

// An empty filter says nothing; the address stays short enough to read out.
for (const form of document.querySelectorAll("form[method=get]")) {
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
  });
}

const themes = document.querySelector("[data-theme-switch]");
themes?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `mona_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  document.dispatchEvent(new Event("mona:theme"));
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const word = button.querySelector("span");
    word.textContent = "Copied";
    setTimeout(() => (word.textContent = "Copy"), 1500);
  });
}

const rows = [...document.querySelectorAll("[data-rows] tbody tr")];
let at = -1;
let prefix = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const go = { i: "/insights", s: "/getting-started" };
  if (prefix === "g" && go[event.key]) location.href = go[event.key] + location.search;
  prefix = event.key;
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
  if ((event.key === "j" || event.key === "k") && rows.length) {
    rows[at]?.classList.remove("at");
    at = Math.max(0, Math.min(rows.length - 1, at + (event.key === "j" ? 1 : -1)));
    rows[at].classList.add("at");
    rows[at].querySelector("a").focus();
    rows[at].scrollIntoView({ block: "nearest" });
  }
});
