"""From k-space to echo images and the lag sums that the field map needs."""
