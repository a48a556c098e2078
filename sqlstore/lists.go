package sqlstore

import (
	"encoding/json"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
)

// packed is a list for a BLOB column: a copy, as the second migration has it.
// row makes of an element what JSON keeps as it is: bytes and numbers.
func packed[T, R any](list []T, row func(T) R) []byte {
	if len(list) == 0 {
		return []byte{}
	}
	rows := make([]R, len(list))
	for i, v := range list {
		rows[i] = row(v)
	}
	b, err := json.Marshal(rows)
	if err != nil {
		panic(fmt.Sprintf("a list of %T is not one of rows: %v", rows, err))
	}
	return b
}

// An unpacked scans what packed made.
type unpacked[T, R any] struct {
	list *[]T
	of   func(R) T
}

func (u unpacked[T, R]) Scan(v any) error {
	*u.list = nil
	b, ok := v.([]byte)
	if v == nil || ok && len(b) == 0 {
		return nil
	}
	if !ok {
		return fmt.Errorf("a list is stored as %T", v)
	}
	var rows []R
	if err := json.Unmarshal(b, &rows); err != nil {
		return fmt.Errorf("a list: %w", err)
	}
	for _, r := range rows {
		*u.list = append(*u.list, u.of(r))
	}
	return nil
}

func texts(list []string) []byte { return packed(list, blob[string]) }

func scanTexts(list *[]string) unpacked[string, []byte] {
	return unpacked[string, []byte]{list, func(b []byte) string { return string(b) }}
}

type requirementRow struct {
	EnvName  []byte `json:"env_name"`
	FilePath []byte `json:"file_path"`
	Help     []byte `json:"help"`
}

func requirements(list []api.Requirement) []byte {
	return packed(list, func(r api.Requirement) requirementRow {
		return requirementRow{blob(r.EnvName), blob(r.FilePath), blob(r.Help)}
	})
}

func scanRequirements(list *[]api.Requirement) unpacked[api.Requirement, requirementRow] {
	return unpacked[api.Requirement, requirementRow]{list, func(r requirementRow) api.Requirement {
		return api.Requirement{EnvName: string(r.EnvName), FilePath: string(r.FilePath), Help: string(r.Help)}
	}}
}

type itemRow struct {
	Secret  []byte `json:"secret"`
	Target  []byte `json:"target"`
	Where   []byte `json:"where"`
	Version int64  `json:"version"`
	State   []byte `json:"state"`
	Detail  []byte `json:"detail"`
}

func items(list []api.DeliveryItem) []byte {
	return packed(list, func(i api.DeliveryItem) itemRow {
		return itemRow{blob(i.Secret), blob(i.Target), blob(i.Where), i.Version, blob(i.State), blob(i.Detail)}
	})
}

func scanItems(list *[]api.DeliveryItem) unpacked[api.DeliveryItem, itemRow] {
	return unpacked[api.DeliveryItem, itemRow]{list, func(r itemRow) api.DeliveryItem {
		return api.DeliveryItem{
			Secret: string(r.Secret), Target: api.Target(r.Target), Where: string(r.Where), Version: r.Version,
			State: api.DeliveryState(r.State), Detail: string(r.Detail),
		}
	}}
}

type hostRow struct {
	Name        []byte `json:"name"`
	Fingerprint []byte `json:"fingerprint"`
	Authority   int64  `json:"authority,omitempty"` // 0 or 1
}

func hosts(list []api.KeyHost) []byte {
	return packed(list, func(h api.KeyHost) hostRow { return hostRow{blob(h.Name), blob(h.Fingerprint), flag(h.Authority)} })
}

func scanHosts(list *[]api.KeyHost) unpacked[api.KeyHost, hostRow] {
	return unpacked[api.KeyHost, hostRow]{list, func(r hostRow) api.KeyHost {
		return api.KeyHost{Name: string(r.Name), Fingerprint: string(r.Fingerprint), Authority: r.Authority != 0}
	}}
}
