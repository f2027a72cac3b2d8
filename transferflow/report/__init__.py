"""The HTML report from plain data. Collecting that data is `stages.register`."""
