// Reports clicks on tokens, moves the focus between them and shows their notes. Gradio runs this once a mount, with element
// and trigger in scope. Listeners sit on the strip's parent, which stays, so every update of the tokens keeps them.
const strip = () => element.querySelector('.gb-tokens');
const tokenAt = event => event.target.closest?.('.gb-token');
const choose = token => trigger('select', {index: [...strip().children].indexOf(token), value: token.textContent});

element.addEventListener('click', event => tokenAt(event) && choose(tokenAt(event)));
element.addEventListener('keydown', event => {
  const token = tokenAt(event);
  if (!token) return;
  const next = {
    ArrowRight: token.nextElementSibling, ArrowLeft: token.previousElementSibling,
    Home: strip().firstElementChild, End: strip().lastElementChild,
  }[event.key];
  if (event.key === 'Enter' || event.key === ' ') choose(token);
  else if (event.key === 'Escape') hide();
  else if (next) next.focus();
  else return;
  event.preventDefault();
});

// One note serves the whole page. It hangs from the body, for the strip's own children are compared and replaced.
const note = document.querySelector('body > .gb-note-over') ?? document.body.appendChild(document.createElement('div'));
note.className = 'gb-note-over';
note.setAttribute('aria-hidden', 'true'); // the token's aria-description says the same
const hide = () => note.classList.remove('gb-shown');
const show = event => {
  const token = tokenAt(event), text = token?.getAttribute('aria-description');
  if (!text) return hide();
  note.textContent = text;
  const box = [...token.getClientRects()].at(-1), {offsetWidth: wide, offsetHeight: high} = note;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - wide / 2), document.documentElement.clientWidth - wide - 8);
  note.style.left = `${left}px`;
  note.style.top = `${box.top - high - 8 > 0 ? box.top - high - 8 : box.bottom + 8}px`;
  note.classList.add('gb-shown');
};
for (const kind of ['pointerover', 'focusin', 'click']) element.addEventListener(kind, show);
for (const kind of ['pointerleave', 'focusout']) element.addEventListener(kind, hide);
window.addEventListener('scroll', hide, {passive: true, capture: true});
