package inteltest
