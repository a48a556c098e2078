package api

import "context"

// User secrets.

func (c *Client) Secrets(ctx context.Context, user string) ([]Secret, error) {
	return call[[]Secret](ctx, c, "GET", userPath(user, "secrets"), nil)
}

func (c *Client) Secret(ctx context.Context, user, name string) (Secret, error) {
	return call[Secret](ctx, c, "GET", userPath(user, "secrets", name), nil)
}

func (c *Client) CreateSecret(ctx context.Context, user string, r CreateSecretRequest) (Secret, error) {
	return call[Secret](ctx, c, "POST", userPath(user, "secrets"), r)
}

func (c *Client) UpdateSecret(ctx context.Context, user, name string, r UpdateSecretRequest) (Secret, error) {
	return call[Secret](ctx, c, "PATCH", userPath(user, "secrets", name), r)
}

// UpdateSecrets changes several secrets, all or none.
func (c *Client) UpdateSecrets(ctx context.Context, user string, r UpdateSecretsRequest) ([]Secret, error) {
	return call[[]Secret](ctx, c, "PATCH", userPath(user, "secrets"), r)
}

// ImportSecrets makes a secret of each entry of a file, all or none.
func (c *Client) ImportSecrets(ctx context.Context, user string, r ImportSecretsRequest) ([]Secret, error) {
	return call[[]Secret](ctx, c, "POST", userPath(user, "secrets", "batch"), r)
}

func (c *Client) DeleteSecret(ctx context.Context, user, name string) error {
	return c.do(ctx, "DELETE", userPath(user, "secrets", name), nil, nil)
}

// SecretVersions lists the versions of a value that are kept, newest first.
func (c *Client) SecretVersions(ctx context.Context, user, name string) ([]SecretVersion, error) {
	return call[[]SecretVersion](ctx, c, "GET", userPath(user, "secrets", name, "versions"), nil)
}

func (c *Client) RollbackSecret(ctx context.Context, user, name string, r RollbackSecretRequest) (Secret, error) {
	return call[Secret](ctx, c, "POST", userPath(user, "secrets", name, "rollback"), r)
}

// Deliveries says of each workspace what became of the user's secrets there.
func (c *Client) Deliveries(ctx context.Context, user string) ([]WorkspaceDelivery, error) {
	return call[[]WorkspaceDelivery](ctx, c, "GET", userPath(user, "deliveries"), nil)
}

// ScanSecrets says which of the user's secrets have one of the hashed values.
func (c *Client) ScanSecrets(ctx context.Context, user string, r ScanRequest) ([]ScanMatch, error) {
	return call[[]ScanMatch](ctx, c, "POST", userPath(user, "secrets", "scan"), r)
}

// Limits are the server's.
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	return call[Limits](ctx, c, "GET", "/limits", nil)
}

// Workspaces and secrets.

func (c *Client) Workspace(ctx context.Context, user, workspace string) (Workspace, error) {
	return call[Workspace](ctx, c, "GET", userPath(user, "workspaces", workspace), nil)
}

func (c *Client) UpdateWorkspace(ctx context.Context, user, workspace string, r UpdateWorkspaceRequest) (Workspace, error) {
	return call[Workspace](ctx, c, "PATCH", userPath(user, "workspaces", workspace), r)
}

// CheckWorkspace says which of a workspace's requirements are met.
func (c *Client) CheckWorkspace(ctx context.Context, user, workspace string) ([]RequirementCheck, error) {
	return call[[]RequirementCheck](ctx, c, "GET", userPath(user, "workspaces", workspace, "check"), nil)
}

// What a workspace token may do.

// FetchSecrets returns the workspace's secrets sealed to r.Recipient: see
// [Recipient.OpenSecrets].
func (c *Client) FetchSecrets(ctx context.Context, r FetchSecretsRequest) (sealed []byte, err error) {
	err = c.do(ctx, "POST", "/workspaceagents/me/secrets/fetch", r, &sealed)
	return sealed, err
}

// ReportDelivery tells the server what became of the secrets.
func (c *Client) ReportDelivery(ctx context.Context, r DeliveryReport) error {
	return c.do(ctx, "PUT", "/workspaceagents/me/secrets/status", r, nil)
}

// ScanOwnSecrets is ScanSecrets for the workspace's user.
func (c *Client) ScanOwnSecrets(ctx context.Context, r ScanRequest) ([]ScanMatch, error) {
	return call[[]ScanMatch](ctx, c, "POST", "/workspaceagents/me/secrets/scan", r)
}
