package kms
