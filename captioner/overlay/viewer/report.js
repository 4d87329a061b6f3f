// Written page: photos in pages of a few dozen; the viewer is attached to each photo as it comes near.
"use strict";

(() => {
  const PAGE = 24; // photos at a time
  const sections = [...document.querySelectorAll("section.entry")];
  if (!sections.length) return;
  const data = (section) => JSON.parse(section.querySelector("script").textContent);
  const entries = new Map();
  const ready = (section) => {
    if (!entries.has(section)) entries.set(section, mount(section, data(section)));
    return entries.get(section);
  };
  const near = new IntersectionObserver(
    (changes) => changes.forEach(({ target, isIntersecting }) => isIntersecting && (near.unobserve(target), ready(target))),
    { rootMargin: "100% 0%" },
  );

  const pages = Math.ceil(sections.length / PAGE);
  const count = (number) => number.toLocaleString("en");
  const pagers = [];
  let page = 0;
  const go = (to) => {
    page = Math.min(Math.max(to, 0), pages - 1);
    sections.forEach((section, i) => (section.hidden = Math.floor(i / PAGE) !== page));
    const last = Math.min((page + 1) * PAGE, sections.length);
    for (const { back, on, number, text } of pagers) {
      back.disabled = page === 0;
      on.disabled = page === pages - 1;
      number.value = page + 1;
      text.textContent = `Photos ${count(page * PAGE + 1)}–${count(last)} of ${count(sections.length)}`;
    }
  };
  const turn = (to) => {
    go(to);
    document.querySelector("main").scrollIntoView();
  };
  const pager = (label) => {
    const back = element("button", { type: "button", textContent: "Previous" });
    const on = element("button", { type: "button", textContent: "Next" });
    const number = element("input", { type: "number", min: 1, max: pages, value: 1 });
    const text = element("span", { className: "count" });
    back.addEventListener("click", () => turn(page - 1));
    on.addEventListener("click", () => turn(page + 1));
    number.addEventListener("change", () => turn((Number(number.value) || 1) - 1));
    pagers.push({ back, on, number, text });
    const nav = element("nav", { className: "pager" }, text, element("label", {}, "Page", number, `of ${count(pages)}`), back, on);
    nav.setAttribute("aria-label", label);
    return nav;
  };

  const first = data(sections[0]);
  const top = document.querySelector(".top");
  top.after(options(settings.methods));
  if (pages > 1) {
    document.querySelector("main").before(pager("Pages of photos"));
    document.querySelector("main").after(pager("Pages of photos, below"));
  }
  // A link to a photo opens the page it is on.
  const follow = () => {
    const section = document.getElementById(location.hash.slice(1))?.closest("section.entry");
    go(section ? Math.floor(sections.indexOf(section) / PAGE) : page);
    section?.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();
  ready(sections[0]).choose(first.start); // one map is in view from the start
  sections.slice(1).forEach((section) => near.observe(section));

  // Without focus, arrow keys act on the photo nearest to the middle of the window.
  document.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || document.activeElement !== document.body || event.altKey || event.ctrlKey || event.metaKey) return;
    const off = (section) => {
      const { top, bottom } = section.getBoundingClientRect();
      return Math.abs((top + bottom) / 2 - innerHeight / 2);
    };
    const inSight = [...shown].sort((a, b) => off(a.section) - off(b.section));
    inSight[0]?.step(by);
  });
})();
