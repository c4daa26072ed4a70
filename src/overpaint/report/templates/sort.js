// A click on a column's head sorts its table: by size where the column has numbers, rows without one last, else as text.
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const text = row => row.cells[head.cellIndex].textContent.trim();
  const isNumber = row => /^[+-]?[\d.]+( %)?$/.test(text(row));
  const sign = head.ariaSort == "ascending" ? -1 : 1;
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = sign > 0 ? "ascending" : "descending";
  const numbers = [...body.rows].filter(isNumber), rest = [...body.rows].filter(row => !isNumber(row));
  numbers.sort((a, b) => sign * (parseFloat(text(a)) - parseFloat(text(b))));
  rest.sort((a, b) => sign * text(a).localeCompare(text(b)));
  body.append(...numbers, ...rest);
});
