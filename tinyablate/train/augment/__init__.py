"""Random changes to training images, batched and on the device that trains. Importing it imports nothing."""
