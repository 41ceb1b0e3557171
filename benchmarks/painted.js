// Put into a page before it loads: `painted(drawn)` gives the milliseconds from the last click to the frame after the last
// thing that changed, once nothing has changed for a while. With `drawn` it waits until a heat map was drawn anew.
{
  const QUIET = 1000, DEADLINE = 60000; // milliseconds
  let clicked = 0, changed = 0, shown = 0, redrawn = false;
  const frame = () => new Promise(requestAnimationFrame);
  const heats = nodes => [...nodes].some(node => node.tagName === 'image' || node.querySelector?.('image'));

  const unseen = ({target}) => !!(target.closest ? target : target.parentElement)?.closest('.sr-only'); // read to the blind

  const note = async changes => {
    if (!clicked || changes.every(unseen)) return;
    const mine = changed = performance.now();
    redrawn ||= changes.some(({target, addedNodes}) => target.tagName === 'image' || heats(addedNodes));
    await Promise.all([...document.querySelectorAll('image')].map(image => image.decode().catch(() => {})));
    await frame(); // before the change is painted
    await frame(); // after it
    if (mine === changed) shown = performance.now();
  };
  new MutationObserver(note).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  document.addEventListener('click', event => [clicked, changed, shown, redrawn] = [event.timeStamp, 0, 0, false], true);

  window.painted = drawn => new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      const now = performance.now(), quiet = now - Math.max(clicked, changed) > QUIET && shown >= changed;
      if (quiet && (redrawn || !drawn)) resolve(shown - clicked);
      else if (now - clicked > DEADLINE) reject(Error(`${DEADLINE} ms after the click no ${drawn ? 'heat map was drawn' : 'rest came'}`));
      else return;
      clearInterval(timer);
    }, 50);
  });
}
