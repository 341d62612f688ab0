"""The rows that a load test sends: test images, files of arrays, random rows; and their order."""
