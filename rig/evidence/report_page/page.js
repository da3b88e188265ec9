"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const rows = all("tr.row"), tests = all("#tests details.test"), chips = all("[data-verdict]");
  const find = one("find"), found = one("found"), change = one("change"), clear = one("clear"), differ = one("differ");
  const toggles = differ ? [...chips, differ] : chips;
  let wanted = "";
  document.documentElement.classList.add("script");

  const apply = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = chips.filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.dataset.verdict);
    const differences = differ?.getAttribute("aria-pressed") === "true";
    const fits = (e) =>
      (!differences || e.dataset.differs === "yes") &&
      words.every((w) => e.dataset.words.includes(w)) &&
      (!verdicts.length || e.dataset.verdicts.split(" ").some((v) => verdicts.includes(v)));
    tests.forEach((t) => { t.hidden = !fits(t) || (wanted && !t.dataset.changes.split(" ").includes(wanted)); });
    const names = new Set(tests.filter((t) => !t.hidden).map((t) => "#" + t.id));
    rows.forEach((r) => {
      r.hidden = !fits(r) || (wanted && ![...r.querySelectorAll("a")].some((a) => names.has(a.hash.split("-")[0])));
    });
    all("#table tbody").forEach((b) => { b.hidden = !b.querySelector("tr.row:not([hidden])"); });
    const busy = words.length || verdicts.length || wanted || differences;
    clear.hidden = !busy;
    change.hidden = !wanted;
    change.textContent = "shows " + wanted.replace(">", " → ");
    const shown = (list) => list.filter((e) => !e.hidden).length + " of " + list.length;
    found.textContent = busy ? shown(rows) + " requirements, " + shown(tests) + " tests" : "";
  };
  const reset = () => {
    find.value = "";
    wanted = "";
    toggles.forEach((c) => c.setAttribute("aria-pressed", "false"));
    apply();
  };
  const show = () => {
    const place = one(location.hash.slice(1)), target = place?.closest("details.test");
    if (!target) return;
    if (target.hidden) reset();
    target.open = true;
    place.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", show);
  show();
  // A run of power-cut sweeps alone has no tests to filter.
  if (!find) return;

  const openAll = (open) => tests.forEach((t) => { t.open = open; });

  one("requirements").querySelector(".filter").hidden = false;
  find.addEventListener("input", apply);
  clear.addEventListener("click", () => { reset(); find.focus(); });
  change.addEventListener("click", () => { wanted = ""; apply(); });
  toggles.forEach((c) => c.addEventListener("click", () => {
    c.setAttribute("aria-pressed", String(c.getAttribute("aria-pressed") !== "true"));
    apply();
  }));
  all("[data-change]").forEach((b) => b.addEventListener("click", () => {
    wanted = b.dataset.change;
    apply();
    one("tests").scrollIntoView();
  }));
  one("open").addEventListener("click", () => openAll(true));
  one("close").addEventListener("click", () => openAll(false));
})();
