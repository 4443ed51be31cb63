/** An operator opens a group from the fleet: where it hangs, how sure its figures are, what is below it, what bounds it. */
export default {
  name: "node",
  async run({ page, open, axe, api, picture }) {
    const { groups } = await api("GET", "/api/groups?level=1&limit=1");
    await open(`/node/${encodeURIComponent(groups[0].group_id)}`);
    await page.getByTestId("node-battery").waitFor();
    await page.getByTestId("limits").waitFor();
    await axe();
    await picture();
  },
};
