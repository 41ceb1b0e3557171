// Put into a page before it loads: `streamed(count)` gives, once so many stamped tokens were painted, how long each took.
// A stamp is a token's text: seven digits, the milliseconds of the clock at which the server's loop let go of it. For each, in
// the order they came: the stamp, and the milliseconds until the strip held it, until it was painted, and until the next frame
// began. Painted is when the page is done with the frame: in Chromium's own trace that is after Paint and Commit, and within
// half a millisecond of DrawFrame; the next frame begins some twelve milliseconds later.
{
  const STAMP = /\d{7}/g, DAY = 1e7, DEADLINE = 90000; // milliseconds
  const tokens = new Map();
  const frame = () => new Promise(requestAnimationFrame);
  const task = () => new Promise(resolve => { // as soon as the page is done with the frame
    const {port1, port2} = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  const since = stamp => (Date.now() - stamp + DAY) % DAY;

  const note = async () => {
    const fresh = [];
    for (const strip of document.querySelectorAll('.gb-tokens')) {
      for (const [stamp] of strip.textContent.matchAll(STAMP)) {
        if (tokens.has(stamp)) continue;
        fresh.push(stamp);
        tokens.set(stamp, [since(stamp)]);
      }
    }
    if (!fresh.length) return;
    await frame();
    await task();
    const done = fresh.map(since);
    await frame();
    fresh.forEach((stamp, at) => tokens.get(stamp).push(done[at], since(stamp)));
  };
  new MutationObserver(note).observe(document, {subtree: true, childList: true, characterData: true});

  window.streamed = count => new Promise((resolve, reject) => {
    const began = performance.now();
    const timer = setInterval(() => {
      const all = [...tokens.entries()].filter(([, times]) => times.length === 3);
      if (all.length >= count) resolve(all.map(([stamp, times]) => [+stamp, ...times]));
      else if (performance.now() - began > DEADLINE) reject(Error(`${all.length} of ${count} tokens were painted`));
      else return;
      clearInterval(timer);
    }, 500);
  });
}
