"""The figures of a report, as SVG that follows the page. The page around them is `report`."""
