// Run inside each page: what is wider than the screen, and which text has too little contrast (WCAG 2.2, 1.4.3).
(() => {
  const parse = (text) => {
    const found = text.match(/rgba?\(([^)]+)\)/);
    if (!found) return null;
    const [r, g, b, a = 1] = found[1].split(/[ ,/]+/).map(Number);
    return [r, g, b, a];
  };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const background = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.filter(Boolean).reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  const faint = [];
  let texts = 0, least = 21;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    texts += 1;
    const below = background(element);
    const ratio = contrast(over(parse(getComputedStyle(element).color), below), below);
    least = Math.min(least, ratio);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  const root = document.documentElement;
  const wide = [...document.body.querySelectorAll("*")]
    .filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1 && !one.closest("pre, .skip, thead"))
    .map((one) => `${one.tagName}.${one.className}: ${one.textContent.trim().slice(0, 40)}`);
  return {
    texts, faint, wide: wide.slice(0, 5), least,
    overflow: root.scrollWidth - root.clientWidth,
    headings: document.querySelectorAll("h1").length,
    skipped: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
      .filter((one, i, all) => Number(one.tagName[1]) > (i ? Number(all[i - 1].tagName[1]) : 0) + 1)
      .map((one) => `${one.tagName}: ${one.textContent.trim().slice(0, 40)}`),
    language: root.lang,
    unscoped: document.querySelectorAll("th:not([scope])").length,
    twice: [...document.querySelectorAll("[id]")].map((one) => one.id).filter((id, i, all) => all.indexOf(id) !== i),
    // What can be scrolled sideways has to be reached by keyboard (WCAG 2.2, 2.1.1).
    stuck: [...document.querySelectorAll("pre")].filter((one) => one.scrollWidth > one.clientWidth && one.tabIndex < 0).length,
    astray: [...document.querySelectorAll('a[href^="#"]')].filter((one) => !document.getElementById(one.hash.slice(1))).length,
    scripts: document.querySelectorAll("script, iframe, object, embed").length,
    foreign: performance.getEntriesByType("resource").map((one) => one.name).filter((url) => !url.startsWith(location.origin)),
    unnamed: [...document.querySelectorAll("a, button, input")].filter((one) => !(one.textContent.trim() || one.ariaLabel)).length,
  };
})()
