"""From a data set's files to the packed arrays that training reads; this file imports nothing."""
