package storage

// A window holds values for consecutive indexes.
type window[T any] struct {
	first uint64 // index of items[0]; meaningless while there are none
	items []T
}

func (w *window[T]) empty() bool { return len(w.items) == 0 }

// last is the index of the newest value, or first-1.
func (w *window[T]) last() uint64 { return w.first + uint64(len(w.items)) - 1 }

func (w *window[T]) at(index uint64) (v T, ok bool) {
	if w.empty() || index < w.first || index > w.last() {
		return v, false
	}
	return w.items[index-w.first], true
}

// push appends the value for index, which follows the last one unless the window is empty.
func (w *window[T]) push(index uint64, v T) {
	if w.empty() {
		w.first = index
	}
	w.items = append(w.items, v)
}

// dropThrough removes the values up to index.
func (w *window[T]) dropThrough(index uint64) {
	if w.empty() || index < w.first {
		return
	}
	n := int(min(index-w.first+1, uint64(len(w.items))))
	clear(w.items[:n]) // so that what they point to can go
	w.items = w.items[n:]
	w.first += uint64(n)
	if len(w.items) == 0 {
		w.items = nil
	}
}

// dropFrom removes the values from index on.
func (w *window[T]) dropFrom(index uint64) {
	if w.empty() || index > w.last() {
		return
	}
	keep := uint64(0)
	if index > w.first {
		keep = index - w.first
	}
	clear(w.items[keep:])
	w.items = w.items[:keep]
}
