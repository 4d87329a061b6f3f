// Makes every photo of a written page explorable, each when it comes near: a page may hold hundreds.
"use strict";

(() => {
  const sections = [...document.querySelectorAll("section.entry")];
  const data = (section) => JSON.parse(section.querySelector("script").textContent);
  const near = new IntersectionObserver(
    (changes) => {
      for (const { target, isIntersecting } of changes) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        mount(target, data(target));
      }
    },
    { rootMargin: "100% 0%" },
  );
  if (sections.length) {
    const first = data(sections[0]);
    document.querySelector(".top").after(options(first.layers, first.heads));
    mount(sections[0], first).choose(first.start); // shows a newcomer at once what this is about
    sections.slice(1).forEach((section) => near.observe(section));
  }
})();
