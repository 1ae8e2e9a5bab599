"""The pages in which people see, in a browser, what a party does; each is served by its party's own process."""
