data => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1)], {type: 'application/json'}));
  link.download = 'NAME.json';
  link.click();
  URL.revokeObjectURL(link.href);
}
